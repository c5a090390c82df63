"""Presets: settings of a method under a name, in TOML files that the panel writes and the command reads.

Some are bundled; a user's own are in the configuration folder and hide bundled ones of the same name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from heliorestore.errors import SettingsError, guess
from heliorestore.settings import Option, Settings, options, to_text
from heliorestore.storage import at_home, atomic_write, toml_text, user_folder

# settings that belong to a run or a machine, not to a kind of data
_OF_ONE_RUN = ("checkpoint", "memory_gb", "residual_frame")
_NAME = re.compile(r"[A-Za-z0-9][\w .-]{0,60}")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings by name, as in a file; `about` is a sentence about their purpose."""

    name: str
    method: str
    about: str
    values: Mapping[str, Any]
    path: Path
    own: bool

    def settings(self, cls: type[Settings]) -> Settings:
        """The settings of the method; missing ones have their default, a wrong one is a SettingsError."""
        if cls.method != self.method:
            raise SettingsError(
                f"The preset {self.name} is for {self.method}, not for {cls.method}: choose another one."
            )
        known = {option.name: option for option in options(cls)}
        values: dict[str, Any] = {}
        for name, value in self.values.items():
            if name not in known:
                hint = guess(name, known) or f"; it has {', '.join(sorted(known))}."
                raise SettingsError(
                    f"The preset {self.path} sets {name}, but {cls.method} has no such setting{hint}"
                )
            values[name] = _checked(self, known[name], value)
        return cls(**values)


def own_folder() -> Path:
    """The folder of the user's own presets."""
    return user_folder("presets")


def presets(method: str) -> dict[str, Preset]:
    """The presets for a method by name, the user's own first; files that cannot be read are left out."""
    found: dict[str, Preset] = {}
    for path in [*_files(own_folder()), *_files(_shipped_folder())]:
        try:
            preset = _read(path)
        except SettingsError:
            continue
        if preset.method == method:
            found.setdefault(preset.name, preset)
    return found


def find_preset(source: str, method: str) -> Preset:
    """The preset in a TOML file, or the one of that name."""
    if source.endswith(".toml"):
        return _read(at_home(source))
    for folder in (own_folder(), _shipped_folder()):
        # Listed, not only existing: a name with slashes must not lead out of the folder.
        if (path := folder / f"{source}.toml") in _files(folder):
            return _read(path)
    known = ", ".join(presets(method)) or "none yet"
    raise SettingsError(
        f"No preset is called {source!r}: for {method} there are {known}; a file's name ends in .toml."
    )


def save_preset(name: str, settings: Settings, about: str = "") -> Path:
    """Save all settings but one run's under a name in the user's folder; it replaces an older one."""
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"A preset cannot be called {name!r}: use up to 60 letters, digits, spaces, dots and dashes."
        )
    lines = [f"method = {_toml(settings.method)}", f"about = {_toml(about)}", "", "[settings]"]
    for option in options(type(settings)):
        value = getattr(settings, option.name)
        if option.name not in _OF_ONE_RUN and value != option.default:
            # Changed settings explain themselves to whoever edits the file.
            lines.append(f"{option.name} = {_toml(value)}  # {option.help}")
        elif option.name not in _OF_ONE_RUN and value is not None:
            lines.append(f"{option.name} = {_toml(value)}")
    path = own_folder() / f"{name}.toml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise SettingsError(f"The preset {path} cannot be written: {error}.") from error
    return path


def delete_preset(preset: Preset) -> None:
    """Delete a user's own preset."""
    if not preset.own:
        raise SettingsError(
            f"The preset {preset.name} is bundled with heliorestore and cannot be deleted: save your "
            "own under another name."
        )
    try:
        preset.path.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"The preset {preset.path} cannot be deleted: {error}.") from error


def _shipped_folder() -> Path:
    return Path(str(resources.files("heliorestore") / "preset_files"))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.toml"))


def _read(path: Path) -> Preset:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"There is no preset {path}.") from error
    except (OSError, ValueError, RecursionError) as error:  # what TOML and UTF-8 raise is a ValueError
        raise SettingsError(f"The preset {path} cannot be read: {error}.") from error
    unknown = sorted(table.keys() - {"method", "about", "settings"})
    values = table.get("settings", {})
    if unknown or not isinstance(table.get("method"), str) or not isinstance(values, dict):
        wrong = f"it says {', '.join(unknown)}" if unknown else "one of them is missing or no such thing"
        raise SettingsError(
            f'The preset {path} must hold method = "...", about = "..." and a table [settings]; {wrong}.'
        )
    own = path.parent != _shipped_folder()
    return Preset(
        name=path.stem,
        method=table["method"],
        about=str(table.get("about", "")),
        values=values,
        path=path,
        own=own,
    )


def _checked(preset: Preset, option: Option, value: Any) -> Any:
    try:
        return (
            option.parse(value) if isinstance(value, str) and option.type is not str else option.check(value)
        )
    except SettingsError as error:
        raise SettingsError(f"The preset {preset.path}: {error}") from error


def _toml(value: Any) -> str:
    """A value as TOML; None, which TOML lacks, as the text that `Option.parse` reads."""
    if isinstance(value, (bool, int, float)):
        return to_text(value)
    return toml_text(to_text(value))
