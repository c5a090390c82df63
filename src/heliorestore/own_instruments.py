"""The user's own instruments: one TOML file each in the user's folder."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heliorestore.errors import SettingsError
from heliorestore.storage import atomic_write, toml_text, user_folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")


def path_of(name: str) -> Path:
    """The file of the instrument of that name; a SettingsError says what it may be called."""
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"An instrument cannot be called {name!r}: use up to 40 letters, digits, dots and dashes, and no "
            "spaces."
        )
    return user_folder("instruments") / f"{name}.toml"


def load() -> dict[str, dict[str, Any]]:
    """The fields of every instrument that can be read, by name."""
    found = {}
    for path in sorted(user_folder("instruments").glob("*.toml")):
        try:
            found[path.stem] = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # what TOML and UTF-8 raise is a ValueError
            continue
    return found


def save(name: str, fields: Mapping[str, Any]) -> Path:
    """Write an instrument's fields; it replaces an older one of that name."""
    path = path_of(name)
    lines = [
        f"{key} = {toml_text(value) if isinstance(value, str) else repr(float(value))}\n"
        for key, value in fields.items()
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write("".join(lines).encode())
    except OSError as error:
        raise SettingsError(f"The instrument {path} cannot be written: {error}.") from error
    return path


def delete(name: str) -> None:
    """Remove an instrument; a SettingsError if there is none of that name."""
    path = path_of(name)
    try:
        path.unlink()
    except FileNotFoundError as error:
        mine = ", ".join(load()) or "none"
        raise SettingsError(f"You have no instrument {name!r}; your own: {mine}.") from error
    except OSError as error:
        raise SettingsError(f"The instrument {path} cannot be removed: {error}.") from error
