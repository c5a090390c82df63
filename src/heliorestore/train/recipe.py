"""A recipe: everything that decides how a network is trained, read from a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from heliorestore.errors import SettingsError, guess

R = TypeVar("R", bound="Recipe")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every training needs; a network's own recipe adds its data.

    The learning rate rises over `warmup` steps, stays, and falls to zero over the last `cooldown` fraction of
    the steps: a stopped run can continue under a recipe with more or fewer steps. Over the last `held`
    fraction the statistics of batch normalisations are frozen, so that the network learns with those with
    which it will be used. `half` stores the weights in half precision, `start` names weights to begin with.
    """

    name: str
    architecture: str
    seed: int = 0
    steps: int = 10_000
    batch: int = 8
    patch: int = 50
    learning_rate: float = 1e-4
    warmup: int = 200
    cooldown: float = 0.3
    held: float = 0.0
    l2: float = 0.0
    precision: str = "float32"
    validate_every: int = 500
    description: str = ""
    half: bool = False
    start: str = ""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "patch", "validate_every"):
            if getattr(self, name) < 1:
                raise SettingsError(f"The recipe's {name} is {getattr(self, name)}; it must be at least 1.")
        fractions = 0 <= self.cooldown <= 1 and 0 <= self.held <= 1
        if not self.learning_rate > 0 or not fractions or self.warmup < 0 or self.l2 < 0:
            raise SettingsError(
                f"The recipe has learning_rate {self.learning_rate}, warmup {self.warmup}, cooldown "
                f"{self.cooldown}, held {self.held} and l2 {self.l2}; the rate must be positive, "
                "cooldown and held between 0 and 1, the others not negative."
            )
        if self.precision not in ("float32", "bfloat16"):
            raise SettingsError(
                f"The recipe's precision is {self.precision!r}; possible are 'float32' and 'bfloat16'."
            )

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        # Adam's moments are poor estimates at first: large steps would waste the first weights.
        rising = (step + 1) / self.warmup if step < self.warmup else 1.0
        tail = max(1, round(self.cooldown * self.steps))
        return self.learning_rate * max(0.0, min(rising, (self.steps - step) / tail))


def bundled() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = Path(str(resources.files("heliorestore") / "train" / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_table(source: str | Path, *, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The table of a TOML file, or of the bundled recipe of that name.

    Missing values come from the recipe that it is `like`: a bundled one, or a file beside it. `readers` are
    the recipes read so far.
    """
    path = bundled().get(str(source), Path(source))
    if path in readers:
        raise SettingsError(f"The recipe {path} is `like` itself: `like` must name another one.")
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError as error:
        raise SettingsError(
            f"There is no recipe {source}: give a TOML file or one of {', '.join(bundled())}."
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # what TOML and UTF-8 raise is a ValueError
        raise SettingsError(f"The recipe {path} cannot be read: {error}.") from error
    like = table.pop("like", "")
    base = like if like in bundled() else path.parent / str(like)
    return (read_table(base, readers=(*readers, path)) if like else {}) | {"name": path.stem} | table


def from_table(cls: type[R], table: dict[str, Any]) -> R:
    """Make a recipe from a table; an unknown name or a value of the wrong kind is a SettingsError."""
    known = {field.name: field for field in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for name, value in table.items():
        # A typo must not leave a default in the place of what was meant.
        if name not in known:
            hint = guess(name, known) or f"; it has {', '.join(known)}."
            raise SettingsError(f"A recipe has no {name!r}{hint}")
        default = known[name].default
        wanted = str if default is dataclasses.MISSING else type(default)
        # TOML distinguishes 1 from 1.0, users do not.
        values[name] = (
            float(value)
            if wanted is float and type(value) is int
            else tuple(value)
            if wanted is tuple
            else value
        )
        if type(values[name]) is not wanted:
            raise SettingsError(f"The recipe's {name} is {value!r}; it must be of type {wanted.__name__}.")
    missing = [
        name for name, field in known.items() if field.default is dataclasses.MISSING and name not in table
    ]
    if missing:
        raise SettingsError(f"The recipe lacks {', '.join(missing)}.")
    return cls(**values)
