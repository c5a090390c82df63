"""Bursts that have something of their own: lines of a plan (TOML or CSV), and configurations of redux."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from heliorestore.batch.night import OWN, Night, Wanted, bursts_in, checked_name, images_in, matching
from heliorestore.errors import HeliorestoreError, SettingsError, guess
from heliorestore.settings import Option, Settings, from_rows, options, to_text
from heliorestore.storage import at_home

_SUFFIXES = (".toml", ".csv")
_OF_THE_MACHINE = ("memory_gb", "checkpoint")
_BURST = re.compile(r"\s*\[\[\s*burst\s*\]\]")


def is_plan(path: Path) -> bool:
    """Whether a file's name says that it is a plan."""
    return path.name.lower().endswith(_SUFFIXES) and path.is_file()


def wanted(inputs: Iterable[Path], night: Night) -> Iterator[Wanted]:
    """The bursts of files, folders, patterns and plans, with what they have otherwise than the night."""
    for given in inputs:
        if is_plan(at_home(given)):
            yield from read_plan(at_home(given).absolute(), night)
        else:
            yield from (Wanted(paths, _of_config(paths, night)) for paths in bursts_in([given]))


def read_plan(path: Path, night: Night) -> list[Wanted]:
    """The bursts of a plan; what is wrong in it is a SettingsError with its line."""
    found, names = [], dict[str, int]()
    try:
        for line, row in _toml(path) if path.suffix.lower() == ".toml" else _csv(path):
            try:
                burst = _burst(row, night, path.parent, f"{path}, line {line}")
                if burst.name and names.setdefault(burst.name, line) != line:
                    raise SettingsError(f"line {names[burst.name]} has the name {burst.name} too.")
            except HeliorestoreError as error:
                raise SettingsError(f"{path}, line {line}: {error}") from error
            found.append(burst)
    except (
        OSError,
        ValueError,
        RecursionError,
        csv.Error,
    ) as error:  # what TOML and UTF-8 raise is a ValueError
        raise SettingsError(f"The plan {path} cannot be read: {error}.") from error
    if not found:
        raise SettingsError(f"The plan {path} lists no burst: it needs {_form(path)}.")
    return found


def _form(path: Path) -> str:
    if path.suffix.lower() == ".toml":
        return 'a table [[burst]] with files = "..." for each'
    return "a first line with the names of its columns, files among them, and a line for each burst"


def _toml(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = path.read_text(encoding="utf-8-sig")
    table = tomllib.loads(text)
    bursts = table.pop("burst", [])
    lines = [number for number, line in enumerate(text.splitlines(), 1) if _BURST.match(line)]
    if table or not isinstance(bursts, list) or len(bursts) != len(lines):
        raise SettingsError(
            f"The plan {path} has {', '.join(table) or 'another form'}: it needs {_form(path)}."
        )
    yield from zip(lines, bursts, strict=True)


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        titles = [title.strip() for title in next(rows, [])]
        if "files" not in titles or len(set(titles)) < len(titles):
            raise SettingsError(f"{path}, line 1: a plan needs {_form(path)}, each once.")
        for row in rows:
            if not any(map(str.strip, row)) or row[0].startswith("#"):
                continue
            if len(row) > len(titles):
                raise SettingsError(
                    f"{path}, line {rows.line_num}: there are {len(row)} cells for {len(titles)} columns."
                )
            cells = {title: cell.strip() for title, cell in zip(titles, row, strict=False) if cell.strip()}
            files = [part.strip() for part in cells.pop("files", "").split(";")]
            yield rows.line_num, {"files": [part for part in files if part], **cells}


def _burst(row: Mapping[str, Any], night: Night, folder: Path, where: str) -> Wanted:
    given = row.get("files", [])
    patterns = given if isinstance(given, list) else [given]
    if not patterns or not all(isinstance(each, str) and each for each in patterns):
        raise SettingsError("files must name the files of a burst, a pattern or their folder.")
    paths = tuple(file for each in patterns for file in _files(folder / at_home(each)))
    own = {name: _text(name, value) for name, value in row.items() if name not in ("files", "name")}
    name = checked_name(str(row["name"])) if "name" in row else ""
    return Wanted(paths, _of_config(paths, night) | _checked(own, night, folder), name, where)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, (str, int, float)):
        raise SettingsError(f"{name} is {value!r}; it must be a number, text, or true or false.")
    return to_text(value)


def _files(path: Path) -> tuple[Path, ...]:
    """The files of one burst."""
    if path.is_dir():
        if not (found := images_in(path)):
            raise SettingsError(f"the folder {path} has no file of images.")
        return found
    return tuple(matching(path)) if not path.is_file() else next(bursts_in([path]))


def _checked(own: Mapping[str, str], night: Night, folder: Path) -> dict[str, str]:
    """What a burst has of its own, as a night writes it."""
    from heliorestore.methods.base import load
    from heliorestore.preparation import Preparation

    method: type[Settings] = load(night.method).settings
    known = {each.name: each for each in (*options(method), *options(Preparation))}
    listed = [*OWN, *(name for name in known if name not in _OF_THE_MACHINE and name not in OWN)]
    for name in own:
        if name not in listed:
            hint = guess(name, listed) or f"; it has files, name, {', '.join(listed)}."
            raise SettingsError(f"a burst has no {name!r}{hint}")
    found = {
        name: _selection(name, text) if name in OWN else _setting(known[name], text, folder)
        for name, text in own.items()
    }
    from_rows(method, night.of(found).settings.items())  # settings that contradict one another
    return found


def _selection(name: str, text: str) -> str:
    from heliorestore.instrument import Instrument
    from heliorestore.prepare.sharpness import how_many
    from heliorestore.selection import choose

    if name == "instrument":
        Instrument.parse(text, Instrument())
    elif name == "best":
        how_many(text, 1)
    else:
        choose(text, 1_000_000, name)
    return text


def _setting(option: Option, text: str, folder: Path) -> str:
    value = to_text(option.parse(text))
    if not value or not option.file:
        return value
    file = folder / at_home(value)
    if not file.is_file():
        raise SettingsError(f"{option.name} {file} does not exist.")
    return str(file)


def _of_config(paths: tuple[Path, ...], night: Night) -> dict[str, str]:
    """The settings of a configuration, where the night has the method's defaults."""
    from heliorestore.fits.redux_cfg import is_config, read_config

    if not is_config(paths[0]):
        return {}
    from heliorestore.methods.base import load

    method: type[Settings] = load(night.method).settings
    default = {each.name: to_text(each.default) for each in options(method)}
    return {
        name: to_text(value)
        for name, value in read_config(paths[0]).settings(method).items()
        if night.settings.get(name, default[name]) == default[name] != to_text(value)
    }


def unused(path: Path, night: Night) -> tuple[str, ...]:
    """A sentence on what a night does not use of a configuration; nothing for other files."""
    from heliorestore.fits.redux_cfg import is_config, read_config
    from heliorestore.methods.base import load

    found = read_config(path).unused(load(night.method).settings) if is_config(path) else {}
    listed = "; ".join(f"{key}: {reason}" for key, reason in found.items())
    return (f"Of {path.name} these were not used ({listed}).",) if found else ()
