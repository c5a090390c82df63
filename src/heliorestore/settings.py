"""Settings of a method: one frozen dataclass, from which form, CLI flags, batch plan and FITS table are
derived.

A field is declared with `option`; nothing here knows any method.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from heliorestore.errors import SettingsError, guess

T = TypeVar("T")
S = TypeVar("S", bound="Settings")


def option(
    default: T,
    *,
    help: str,  # noqa: A002 - the word of argparse and of the SETTINGS table
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    live: bool = False,
    log: bool = False,
) -> T:
    """Declare a setting: default, a sentence of help, unit, range; `live` may change in a run."""
    metadata = {"help": help, "unit": unit, "minimum": minimum, "maximum": maximum, "live": live, "log": log}
    declared: T = dataclasses.field(default=default, metadata=metadata)
    return declared


def other_default(base: type[Settings], name: str, default: T, **changes: str) -> T:
    """Declare a setting of a base class with another default, and with the help that `changes` gives it."""
    (inherited,) = (each for each in dataclasses.fields(base) if each.name == name)
    declared: T = dataclasses.field(default=default, metadata={**inherited.metadata, **changes})
    return declared


def weights_option(default: str, *, of: str, help: str) -> str:  # noqa: A002 - as for `option`
    """Declare a setting that names weights, or their file, of networks whose names begin with `of`."""
    declared: str = dataclasses.field(default=default, metadata={"help": help, "weights_of": of})
    return declared


def file_option(*, help: str) -> str:  # noqa: A002 - as for `option`
    """Declare a setting that names a file; empty is none."""
    declared: str = dataclasses.field(default="", metadata={"help": help, "file": True})
    return declared


@dataclass(frozen=True, kw_only=True)
class Option:
    """One setting, as used by form, command line and table."""

    name: str
    type: Any
    default: Any
    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    live: bool = False
    log: bool = False
    weights_of: str = ""
    file: bool = False
    choices: tuple[Any, ...] = ()
    optional: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def label(self) -> str:
        """The name in words, with the unit once: `r0_cm` is `r0 [cm]`."""
        name = self.name.removesuffix(f"_{self.unit.lower()}") if self.unit else self.name
        return name.replace("_", " ") + (f" [{self.unit}]" if self.unit else "")

    @property
    def default_text(self) -> str:
        """The default in words, empty where nothing is set by default."""
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        return "" if self.default is None else str(self.default)

    @property
    def range_text(self) -> str:
        """The permitted values in words: `one of a, b`, `1 to 500`, `at least 0`."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        low, high = self.minimum, self.maximum
        if low is not None and high is not None:
            return f"{low:g} to {high:g}"
        return f"at least {low:g}" if low is not None else f"at most {high:g}" if high is not None else ""

    def check(self, value: Any) -> Any:
        """Return the value in the setting's type; a wrong value is a SettingsError."""
        if value is None and self.optional:
            return None
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if self.type is float and number:
            value = _as_float(value)
        if self.type is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        # `type`, not isinstance: for Python True is an int, for a user it is not.
        if type(value) is not self.type or (self.type is float and not math.isfinite(value)):
            wanted = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}[
                self.type
            ]
            raise SettingsError(f"{self.name} is {value!r}; it must be {wanted}.")
        too_low = self.minimum is not None and value < self.minimum
        too_high = self.maximum is not None and value > self.maximum
        if too_low or too_high or (self.choices and value not in self.choices):
            raise SettingsError(
                f"{self.name} is {value!r}; it must be "
                f"{self.range_text}{' ' + self.unit if self.unit else ''}."
            )
        return value

    def parse(self, text: str) -> Any:
        """Read the value from the text of a flag or a FITS table."""
        if self.optional and text.lower() in ("none", ""):
            return None
        try:
            if self.type is bool:
                return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
                    text.lower()
                ]
            value = text if "_" in text else self.type(text)  # Python takes 1_0 for ten
        except (KeyError, ValueError):
            value = text
        return self.check(value)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of every method's settings: checked when created, never changed afterwards."""

    method: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for opt in options(type(self)):
            # The record is frozen; `check` may normalise a value, such as 1 to 1.0.
            object.__setattr__(self, opt.name, opt.check(getattr(self, opt.name)))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some settings changed; an unknown name is a SettingsError."""
        known = {opt.name for opt in options(type(self))}
        for name in changes:
            if name not in known:
                # A typo must not pass silently: a default would take the place of what was meant.
                hint = guess(name, known) or f"; it has {', '.join(sorted(known))}."
                raise SettingsError(f"{self.method or type(self).__name__} has no setting {name!r}{hint}")
        return dataclasses.replace(self, **changes)

    def files(self) -> dict[str, Path]:
        """The files that settings name, by the setting: their checksums document a run."""
        return {}

    def with_live(self, changed: Settings) -> Self:
        """Return these settings with the live values of `changed`; a change elsewhere is a SettingsError."""
        if type(changed) is not type(self):
            raise SettingsError(
                f"{self.method} is running: it takes {type(self).__name__}, not {type(changed).__name__}."
            )
        if frozen := self.unlike(changed, live=False):
            raise SettingsError(
                f"{', '.join(frozen)} cannot change while {self.method} runs: start again with it."
            )
        return self.live_from(changed)

    def live_from(self, changed: Settings) -> Self:
        """Return these settings with the live values of `changed`; its other values are ignored."""
        return self.replace(**{o.name: getattr(changed, o.name) for o in options(type(self)) if o.live})

    def unlike(self, other: Settings, *, live: bool) -> tuple[str, ...]:
        """The live settings, or all others, whose values differ from another's of this class, by name."""
        return tuple(
            o.name
            for o in options(type(self))
            if o.live == live and getattr(self, o.name) != getattr(other, o.name)
        )


@dataclass(frozen=True)
class SavedSettings:
    """Settings as saved in a file, without loading the method's module; rows are (name, value, unit, help).

    `methods.base.settings_of` converts them to the method's settings.
    """

    method: str
    rows: tuple[tuple[str, str, str, str], ...]


def options(cls: type[Settings]) -> tuple[Option, ...]:
    """The settings of a class in the order in which they are declared."""
    known: object = cls  # mypy mistakes the __hash__ of a class for that of its instances
    return _options(known)


@functools.cache  # resolving the annotations takes a millisecond, and a slider asks several times a tick
def _options(cls: Any) -> tuple[Option, ...]:
    hints = typing.get_type_hints(cls)
    return tuple(_option(f, hints[f.name]) for f in dataclasses.fields(cls))


def _option(declared: dataclasses.Field[Any], hint: Any) -> Option:
    arguments = typing.get_args(hint)
    optional = isinstance(hint, types.UnionType) and type(None) in arguments
    if optional:
        # `T | None`: a setting that may be left empty.
        (hint,) = (a for a in arguments if a is not type(None))
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    kind = type(choices[0]) if choices else hint
    if kind not in (int, float, bool, str) or "help" not in declared.metadata:
        raise TypeError(
            f"{declared.name}: declare a setting with option(), as int, float, bool, str or "
            f"Literal, not {hint}."
        )
    return Option(
        name=declared.name,
        type=kind,
        default=declared.default,
        choices=choices,
        optional=optional,
        **declared.metadata,
    )


def _as_float(number: float) -> float:
    """A whole number that no float holds is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


# -- settings <-> text: command line and FITS table ----------------------------------------------------------


def add_settings(parser: argparse._ActionsContainer, cls: type[Settings]) -> None:
    """Add one flag per setting; a flag that is not given leaves the default."""
    for opt in options(cls):
        explained = [opt.help]
        if opt.range_text and not opt.choices:
            explained.append(opt.range_text + (f" {opt.unit}" if opt.unit else ""))
        elif opt.unit:
            explained.append(opt.unit)
        if opt.default_text:
            explained.append(f"default {opt.default_text}")
        facts = f" ({'; '.join(explained[1:])})" if explained[1:] else ""
        text = f"{explained[0]}{facts}".replace("%", "%%")  # argparse formats help texts with %
        if opt.type is bool:
            parser.add_argument(opt.flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            metavar = (
                "{" + ",".join(map(str, opt.choices)) + "}" if opt.choices else opt.type.__name__.upper()
            )
            parser.add_argument(opt.flag, metavar=metavar, default=None, help=text)


def from_arguments(cls: type[S], arguments: argparse.Namespace, base: S | None = None) -> S:
    """Make settings from what `add_arguments` parsed; missing ones are those of `base`, or the default."""
    given = {o: getattr(arguments, o.name) for o in options(cls) if getattr(arguments, o.name) is not None}
    return (base or cls()).replace(
        **{o.name: value if isinstance(value, bool) else o.parse(value) for o, value in given.items()}
    )


def to_flags(settings: Settings) -> list[str]:
    """The flags that give these settings; defaults are left out."""
    flags: list[str] = []
    for opt in options(type(settings)):
        value = getattr(settings, opt.name)
        if value == opt.default:
            continue
        if opt.type is bool:
            flags.append(opt.flag if value else opt.flag.replace("--", "--no-", 1))
        else:
            flags += [opt.flag, to_text(value)]
    return flags


def to_text(value: Any) -> str:
    """A value as text from which `Option.parse` reads the same value back, to the last bit."""
    # JSON writes as many digits of a float as it takes to read it back.
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)


def to_rows(settings: Settings | SavedSettings) -> list[tuple[str, str, str, str]]:
    """(name, value, unit, help) of every setting, for a table."""
    if isinstance(settings, SavedSettings):
        return list(settings.rows)
    return [(o.name, to_text(getattr(settings, o.name)), o.unit, o.help) for o in options(type(settings))]


def from_rows(cls: type[S], rows: Iterable[tuple[str, str]]) -> S:
    """Make settings from names and texts; a name that this version does not know is a SettingsError."""
    known: Mapping[str, Option] = {o.name: o for o in options(cls)}
    values = {}
    for name, text in rows:
        if name not in known:
            raise SettingsError(
                f"{cls.method} of this version has no setting {name!r}; it has {', '.join(known)}."
            )
        values[name] = known[name].parse(text)
    return cls(**values)
