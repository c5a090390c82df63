"""Import paths of the last release that were documented: they work, with a DeprecationWarning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

MOVED = {
    "heliorestore.methods.memory": "heliorestore.diagnose.memory",
    "heliorestore.methods.suggest": "heliorestore.diagnose.lambda_object",
    "heliorestore.methods.wavefronts": "heliorestore.diagnose.psf_probe",
}


class OldPaths(MetaPathFinder, Loader):
    """Finds modules that have a new name; it comes last, when nothing else has found the old one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        old, new = module.__name__, MOVED[module.__name__]
        warnings.warn(
            f"{old} is now {new}; the old path ends with the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        sys.modules[old] = importlib.import_module(new)
