"""What is done to every burst of a night: the file `night.toml` in its folder, and the bursts to do it to."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heliorestore import __version__
from heliorestore.batch.ledger import Entry, Ledger
from heliorestore.burst import Burst
from heliorestore.errors import BurstError, HeliorestoreError, SettingsError
from heliorestore.fits.reader import SUFFIXES
from heliorestore.preparation import Preparation
from heliorestore.settings import Settings, to_rows
from heliorestore.storage import at_home, atomic_write, check_folder, toml_text

if TYPE_CHECKING:
    from heliorestore.snapshot import Snapshot

_FILE = "night.toml"
_ASKED = ".asked"  # the line that began the night last, so that it need not be understood again
OWN = ("instrument", "objects", "frames", "best")  # a burst may have its own, besides files and settings
DEFAULT_NAME = "{stem}_restored.fits"


@dataclass(frozen=True, kw_only=True)
class Night:
    """The method and all that belongs to it, as text, so that it can be compared with what stands there."""

    method: str
    settings: dict[str, str]
    preparation: dict[str, str]
    instrument: str = ""
    objects: str = ":"
    frames: str = ":"
    best: str = ""  # of these, the sharpest: a number, or percent
    seed: int = 0
    name: str = DEFAULT_NAME
    version: str = __version__

    @classmethod
    def restoring(cls, settings: Settings, preparation: Preparation, **chosen: Any) -> Night:
        """The night with these settings; what belongs to a machine or to one run is left out of them."""
        return cls(
            method=settings.method,
            settings={
                name: text
                for name, text in _absolute(settings).items()
                if name not in ("memory_gb", "checkpoint")
            },
            preparation=_absolute(preparation),
            **chosen,
        )

    @classmethod
    def read(cls, folder: Path) -> Night:
        """The night in a folder."""
        path = folder / _FILE
        try:
            found = cls(**tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise SettingsError(
                f"{folder} is not a night: it has no {_FILE}. Begin one with heliorestore batch METHOD "
                "INPUT... -o FOLDER."
            ) from None
        except (OSError, TypeError, ValueError, RecursionError) as error:  # TOML and UTF-8 raise ValueErrors
            raise SettingsError(f"{path} cannot be read: {error}.") from error
        if wrong := found._wrong():
            raise SettingsError(f"{path} cannot be read: {', '.join(wrong)} is not as it was written.")
        return found

    def _wrong(self) -> list[str]:
        """The fields that hold another kind of value than they are declared to, as after an edit."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        tables = [name for name in ("settings", "preparation") if isinstance(values[name], dict)]
        texts = {name: values.pop(name) for name in tables}
        wrong = [name for name, table in texts.items() if not all(isinstance(v, str) for v in table.values())]
        seed = values.pop("seed")
        wrong += [] if type(seed) is int and seed >= 0 else ["seed"]
        return wrong + [name for name, value in values.items() if not isinstance(value, str)]

    def begin(self, folder: Path) -> None:
        """Write the night into its folder; another one that stands there already is a SettingsError."""
        if wrong := self._wrong():
            raise SettingsError(f"A night cannot have this: {', '.join(wrong)} must be text (seed a number).")
        text = self._toml()
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _FILE
        if not path.exists():
            part = path.with_name(f".{_FILE}-{os.getpid()}")
            with atomic_write(part) as file:
                file.write(text.encode())
            try:
                os.link(part, path)  # fails if another process was faster: then its night stands there
            except FileExistsError:
                pass
            finally:
                part.unlink()
        self.check(folder)

    @classmethod
    def asked_before(cls, folder: Path, line: str) -> Night | None:
        """The night in a folder if it was begun last by this line: then no method needs to be loaded."""
        try:
            if (folder / _ASKED).read_text() == _signed(folder, line):
                return cls.read(folder)
        except (OSError, UnicodeDecodeError, SettingsError):
            pass
        return None

    def remember(self, folder: Path, line: str) -> None:
        """Keep the line that has begun the night."""
        if self.asked_before(folder, line) is None:
            with atomic_write(folder / _ASKED) as file:
                file.write(_signed(folder, line).encode())

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether there is a night in a folder."""
        return (folder / _FILE).exists()

    def check(self, folder: Path) -> None:
        """Refuse the night in a folder if it is another one."""
        if differences := list(self.unlike(Night.read(folder))):
            raise SettingsError(
                f"{folder} is a night with {'; '.join(differences)}: give another folder, or "
                "the same settings."
            )

    def of(self, own: Mapping[str, str]) -> Night:
        """The night with what a burst has otherwise: of `OWN`, its preparation, and its settings."""
        selection: dict[str, Any] = {name: text for name, text in own.items() if name in OWN}
        files = {name: text for name, text in own.items() if name in self.preparation}
        settings = {n: text for n, text in own.items() if n not in selection and n not in files}
        return dataclasses.replace(
            self, preparation=self.preparation | files, settings=self.settings | settings, **selection
        )

    def unlike(self, there: Night) -> Iterator[str]:
        """What differs from another night, in words."""
        if self.method != there.method:  # and so do all settings
            yield f"method {there.method} and not {self.method}"
            return
        for each in dataclasses.fields(self):
            ours, theirs = getattr(self, each.name), getattr(there, each.name)
            if isinstance(ours, dict):
                for key in sorted(ours.keys() | theirs.keys()):
                    if ours.get(key) != theirs.get(key):
                        yield f"{key} {theirs.get(key, 'missing')} and not {ours.get(key, 'missing')}"
            elif ours != theirs:
                yield f"{each.name} {theirs} and not {ours}"

    def _toml(self) -> str:
        values = dataclasses.asdict(self)
        tables = {name: value for name, value in values.items() if isinstance(value, dict)}
        lines = [f"{name} = {_toml(value)}" for name, value in values.items() if name not in tables]
        for name, table in tables.items():
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
        return "\n".join(lines) + "\n"


def _toml(value: str | int) -> str:
    return toml_text(value) if isinstance(value, str) else str(value)


def _signed(folder: Path, line: str) -> str:
    """What belongs together: a line and the night's file, as this version understands them."""
    return hashlib.sha256(f"{__version__} {line} ".encode() + (folder / _FILE).read_bytes()).hexdigest()


def _absolute(settings: Settings) -> dict[str, str]:
    """Settings as text; files that they name are found from the folders of other hosts too."""
    files = {n: str(path.absolute()) for n, path in settings.files().items() if path.is_file()}
    return {name: text for name, text, *_ in to_rows(settings)} | files


def settings_named(what: str) -> Settings:
    """The settings that a method's name, a file of settings (.toml), or a restored file stands for."""
    from heliorestore.methods import METHODS
    from heliorestore.methods.base import load, settings_of

    if what in METHODS:
        return load(what).settings()
    if what.endswith(".toml"):
        from heliorestore.presets import find_preset

        preset = find_preset(what, "")
        return preset.settings(load(preset.method).settings)
    from heliorestore.fits.reader import read
    from heliorestore.snapshot import Snapshot

    found = read(what)
    if not isinstance(found, Snapshot) or found.run is None:
        raise SettingsError(
            f"{what} is no method, no settings (.toml) and no restored file with a record; "
            f"methods are {', '.join(METHODS)}."
        )
    return settings_of(found.run)


# -- the bursts ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """A burst to add: its files, what it has otherwise than the night, the name of its result if it is given,
    and the place of a plan where that stands.
    """

    paths: tuple[Path, ...]
    own: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    where: str = ""


def bursts_in(inputs: Iterable[Path]) -> Iterator[tuple[Path, ...]]:
    """The bursts that files, folders and patterns name.

    A file is a burst. Of a folder, every file is one, and every folder in it: there the files are its frames.
    """
    for given in inputs:
        path = at_home(given).absolute()
        if path.is_dir():
            yield from ((file,) for file in sorted(path.iterdir()) if _is_image(file))
            for folder in sorted(each for each in path.iterdir() if each.is_dir()):
                files = images_in(folder)
                if files and not (folder / _FILE).exists():  # a night's results are no bursts
                    yield files
        elif path.is_file():
            yield _with_its_files(path)
        else:
            yield from ((file,) for file in matching(path))


def images_in(folder: Path) -> tuple[Path, ...]:
    """The files of images in a folder."""
    return tuple(sorted(file for file in folder.iterdir() if _is_image(file)))


def matching(pattern: Path) -> list[Path]:
    """The files that a pattern such as `scan_*/wide_*.fits` names; none is a BurstError."""
    fixed = next(each for each in (pattern, *pattern.parents) if not re.search(r"[*?\[]", str(each)))
    if fixed == pattern:
        raise BurstError(f"{pattern} does not exist.")
    found = sorted(each for each in fixed.glob(str(pattern.relative_to(fixed))) if _is_image(each))
    if not found:
        raise BurstError(f"No file is called as in {pattern}.")
    return found


def _with_its_files(path: Path) -> tuple[Path, ...]:
    """A file; a configuration of redux is followed by the files that it names."""
    from heliorestore.fits.redux_cfg import is_config, read_config

    if not is_config(path):
        return (path,)
    channels = read_config(path).channels
    images = [file for channel in channels for file in channel.images()]
    named = [file for channel in channels for file in channel.preparation().files().values()]
    return (path, *dict.fromkeys(images + named))


def _is_image(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()


def identity(
    paths: Iterable[Path], own: Mapping[str, str] | None = None
) -> tuple[str, list[str], list[int], list[int]]:
    """A burst's identity, with the paths, sizes and times of change of its files."""
    names, sizes, times = [], [], []
    for path in paths:
        stat = path.stat()
        names.append(str(path))
        sizes.append(stat.st_size)
        times.append(stat.st_mtime_ns)
    known = [names, sizes, times, *([dict(sorted(own.items()))] if own else [])]
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
    return digest, names, sizes, times


def add(ledger: Ledger, night: Night, bursts: Iterable[Wanted | tuple[Path, ...]]) -> int:
    """Add the bursts that are new to the night, and return how many."""
    ledger.refresh()
    taken, added = {entry.name: entry.id for entry in ledger.entries.values()}, 0
    for given in bursts:
        wanted = given if isinstance(given, Wanted) else Wanted(given)
        burst, names, sizes, times = identity(wanted.paths, wanted.own)
        if burst in ledger.entries:
            continue
        name = wanted.name or output_name(night.name, wanted.paths)
        alien = (ledger.night / name).exists() and result_in(ledger.night / name, names, sizes, times) is None
        if alien or taken.get(name, burst) != burst:
            if wanted.name:
                whose = "of another file in this folder" if alien else "of another burst of this night"
                raise SettingsError(
                    f"{wanted.where}: {name} is the name {whose}; if files or settings have changed since, "
                    "give another name."
                )
            stem, dot, suffix = name.partition(".")
            name = f"{stem}_{burst[:8]}{dot}{suffix}"
        taken[name] = burst
        own = {"own": dict(wanted.own)} if wanted.own else {}
        ledger.say("add", burst, paths=names, sizes=sizes, mtimes_ns=times, name=name, **own)
        added += 1
    ledger.refresh()
    return added


def result_in(
    path: Path, names: Sequence[str], sizes: Sequence[int], times: Sequence[int]
) -> Snapshot | None:
    """The restoration of these files that a file is, None if it is anything else."""
    from heliorestore.fits.reader import read
    from heliorestore.snapshot import Snapshot

    try:
        found = read(path)
    except (OSError, HeliorestoreError):
        return None
    if not isinstance(found, Snapshot) or found.run is None:
        return None
    made_of = [(str(source.path), source.size, source.mtime_ns) for source in found.run.sources]
    return found if sorted(made_of) == sorted(zip(names, sizes, times, strict=True)) else None


def output_name(pattern: str, paths: tuple[Path, ...]) -> str:
    """The name of a burst's result: `{stem}`, `{date:%H%M%S}`, `{wavelength}`, `{label}` are filled in."""
    from heliorestore.fits.redux_cfg import SUFFIX, is_config

    stem = paths[0].name if len(paths) == 1 or is_config(paths[0]) else paths[0].parent.name
    for suffix in sorted((*SUFFIXES, SUFFIX), key=len, reverse=True):
        stem = stem.removesuffix(suffix)
    known: dict[str, Any] = {"stem": stem}
    if re.search(r"\{(date|wavelength|label)", pattern):
        known |= _of_header(paths)
    try:
        name = pattern.format(**known)
    except (KeyError, ValueError, AttributeError, IndexError) as error:
        raise SettingsError(
            f"The name {pattern!r} cannot be filled in for {paths[0]} ({error}); it may have {{stem}}, "
            "{date:%H%M%S}, {wavelength} and {label}."
        ) from error
    return checked_name(name)


def checked_name(name: str) -> str:
    """A name for a result; one that is no name of a FITS file is a SettingsError."""
    if not name or Path(name).name != name or not name.lower().endswith((".fits", ".fits.gz")):
        raise SettingsError(
            f"{name!r} is no name of a FITS file in the night's folder: it must end in .fits."
        )
    return name


def _of_header(paths: tuple[Path, ...]) -> dict[str, Any]:
    from heliorestore.preparation import Preparation
    from heliorestore.prepare.opening import open_burst

    burst = open_burst(paths, Preparation())
    known: dict[str, Any] = {"label": burst.labels[0]}
    if burst.instruments[0].wavelength_nm is not None:
        known["wavelength"] = f"{10 * burst.instruments[0].wavelength_nm:.0f}"
    if burst.times is not None:
        known["date"] = burst.times[0].astype("datetime64[us]").item()
    return known


def open_entry(night: Night, entry: Entry) -> Burst:
    """The burst of an entry, prepared as the night says; files that have changed are a BurstError."""
    from heliorestore.prepare.opening import open_burst
    from heliorestore.prepare.sharpness import select_best
    from heliorestore.settings import from_rows

    for path, size, changed in zip(entry.paths, entry.sizes, entry.mtimes_ns, strict=True):
        try:
            stat = Path(path).stat()
        except OSError as error:
            raise BurstError(f"{path} cannot be opened: {error.strerror}.") from error
        if (stat.st_size, stat.st_mtime_ns) != (size, changed):
            raise BurstError(f"{path} has changed since it was added: add it again.")
    night = night.of(entry.own)
    burst = open_burst(
        [Path(path) for path in entry.paths], from_rows(Preparation, night.preparation.items())
    )
    burst = burst.with_instrument(night.instrument).select(night.objects, night.frames)
    return select_best(burst, night.best) if night.best else burst
