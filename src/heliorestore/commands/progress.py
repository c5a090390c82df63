"""A progress bar on the terminal, and Ctrl-C or another signal as a request to stop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from heliorestore.process import heard

if TYPE_CHECKING:
    from heliorestore.snapshot import Snapshot


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Collect Ctrl-C, SIGTERM and SIGHUP, by number, for the loop to see; a second one ends the program at
    once.
    """
    caught: list[int] = []

    def catch(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt(number)
        caught.append(number)
        again = "; press Ctrl-C again to abort" if number == signal.SIGINT else ""
        print(f"\nheliorestore: stopping after this step{again}", file=sys.stderr)

    # An exception in the middle of an iteration would lose the result: the loop looks at the list instead.
    with heard(catch):
        yield caught


class Progress:
    """A bar of tqdm with step, losses and time left; nothing if the output is not a terminal."""

    def __init__(self, stream: TextIO | None, title: str) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None
        self._title = title
        self._bar: Any = None

    def show(self, snapshot: Snapshot) -> None:
        if self._stream is None:
            return
        if self._bar is None:
            from tqdm import tqdm

            # a serial line or a script has no width
            known = os.get_terminal_size(self._stream.fileno()).columns > 0
            size: dict[str, Any] = {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}
            words = "{desc} |{bar:20}| {n_fmt}/{total_fmt}{postfix}, {remaining} left"
            self._bar = tqdm(
                desc=self._title,
                initial=snapshot.step,
                total=snapshot.total,
                file=self._stream,
                bar_format=words,
                **size,
            )
        self._bar.total = max(snapshot.total, snapshot.step)  # both may grow while it runs
        self._bar.set_postfix_str(
            ", ".join(f"{name} {value:.3g}" for name, value in snapshot.losses.items()), refresh=False
        )
        self._bar.update(snapshot.step - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
