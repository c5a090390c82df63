"""Settings that arrive in the middle of an iteration: whoever watches a run need not wait for its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

News = Callable[[], Any]
"""Returns the settings that have arrived since it was last asked, or None."""


class Interrupted(Exception):
    """Ends an iteration in its middle, without a result; these settings are to be used from now on."""

    def __init__(self, settings: Any) -> None:
        super().__init__("interrupted by other settings")
        self.settings = settings


@dataclass(eq=False)
class Watch:
    """Who watches a run, if anybody, and whether an iteration may be interrupted now."""

    news: News | None = None
    open: bool = True

    @property
    def watched(self) -> bool:
        return self.news is not None

    def look(self) -> None:
        """Between two parts of the work: raise `Interrupted` if settings have arrived."""
        if self.open and self.news is not None and (settings := self.news()) is not None:
            raise Interrupted(settings)
