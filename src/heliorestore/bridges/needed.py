"""Packages that only some users have."""

from __future__ import annotations

import importlib
from typing import Any

from heliorestore.errors import BurstError


def needed(module: str, extra: str) -> Any:
    """The module of another package; a BurstError says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise BurstError(
            f'This needs the package {package}: install it with pip install "heliorestore[{extra}]".'
        ) from error
