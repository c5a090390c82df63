import argparse
import dataclasses
import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliorestore.errors import SettingsError
from heliorestore.methods import METHODS
from heliorestore.methods.base import load
from heliorestore.settings import (
    Settings,
    add_settings,
    from_arguments,
    from_rows,
    option,
    options,
    other_default,
    to_flags,
    to_rows,
)


@dataclass(frozen=True, kw_only=True)
class Example(Settings):
    method: ClassVar[str] = "example"

    count: int = option(3, minimum=1, maximum=99, help="How many.")
    weight: float = option(0.1, minimum=0, unit="px", live=True, log=True, help="How much.")
    kind: Literal["flat", "round"] = option("flat", help="Which.")
    factor: Literal[1, 2] = option(1, help="Times.")
    wise: bool = option(True, help="Whether.")
    name: str = option("a b", help="Who.")
    limit: float | None = option(None, maximum=5, help="Where it ends.")


values = st.builds(
    Example,
    count=st.integers(1, 99),
    weight=st.floats(0, allow_infinity=False),
    kind=st.sampled_from(["flat", "round"]),
    factor=st.sampled_from([1, 2]),
    wise=st.booleans(),
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
        lambda t: not t.startswith("-")
    ),
    limit=st.none() | st.floats(max_value=5, allow_infinity=False, allow_nan=False).filter(lambda x: x >= 0),
)


@given(values)
def test_settings_survive_the_table_and_the_command_line(settings: Example) -> None:
    assert from_rows(Example, [(name, text) for name, text, _, _ in to_rows(settings)]) == settings
    parser = argparse.ArgumentParser()
    add_settings(parser, Example)
    assert from_arguments(Example, parser.parse_args(to_flags(settings))) == settings


def test_flags_leave_defaults_out() -> None:
    assert to_flags(Example()) == []
    assert to_flags(Example(weight=0.25, wise=False, factor=2)) == [
        "--weight",
        "0.25",
        "--factor",
        "2",
        "--no-wise",
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"count": 0}, "count is 0; it must be 1 to 99."),
        ({"count": 2.5}, "count is 2.5; it must be a whole number."),
        ({"count": "many"}, "count is 'many'; it must be a whole number."),
        ({"count": True}, "count is True; it must be a whole number."),
        ({"weight": -1}, "weight is -1.0; it must be at least 0 px."),
        ({"weight": float("nan")}, "weight is nan; it must be a finite number."),
        ({"kind": "square"}, "kind is 'square'; it must be one of flat, round."),
        ({"wise": 1}, "wise is 1; it must be true or false."),
        ({"limit": 9}, "limit is 9.0; it must be at most 5."),
        ({"counts": 3}, "example has no setting 'counts'; did you mean count?"),
        ({"xyz": 3}, "example has no setting 'xyz'; it has count, factor"),
    ],
)
def test_a_wrong_setting_is_one_sentence(changes: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Example().replace(**changes)
    assert str(caught.value).startswith(says)


def test_numbers_take_their_own_type() -> None:
    settings = Example(count=4.0, weight=2)
    assert (type(settings.count), type(settings.weight)) == (int, float)


def test_only_live_settings_change_while_running() -> None:
    running = Example()
    assert running.with_live(Example(weight=0.7)).weight == 0.7
    with pytest.raises(SettingsError, match="count cannot change while example runs"):
        running.with_live(Example(count=4))
    with pytest.raises(SettingsError, match="takes Example, not Settings"):
        running.with_live(Settings())


def test_live_values_are_merged_and_told_apart_in_one_place() -> None:
    running, form = Example(), Example(weight=0.7, count=4, name="c")
    assert running.live_from(form) == Example(weight=0.7)
    assert running.unlike(form, live=True) == ("weight",)
    assert running.unlike(form, live=False) == ("count", "name")


def test_an_unknown_name_in_a_file_is_told() -> None:
    with pytest.raises(SettingsError, match="no setting 'speed'"):
        from_rows(Example, [("speed", "3")])


def test_a_setting_without_help_or_of_a_strange_type_is_a_programming_error() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Bad(Settings):
        numbers: list[int] = dataclasses.field(default_factory=list)

    with pytest.raises(TypeError, match="numbers: declare a setting with option"):
        options(Bad)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_declares_sound_settings(name: str) -> None:
    method = load(name)
    assert method.name == method.settings.method == name
    assert method.settings() == from_rows(method.settings, [row[:2] for row in to_rows(method.settings())])
    for opt in options(method.settings):
        assert opt.help.endswith("."), opt
        assert opt.type in (bool, str) or opt.choices or opt.minimum is not None, f"{opt.name} has no range"


def test_a_class_is_asked_for_its_settings_once() -> None:
    assert options(Example) is options(Example)


def test_a_setting_of_a_base_class_gets_another_default_and_keeps_its_range() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Other(Example):
        weight: float = other_default(Example, "weight", 0.9)
        count: int = other_default(Example, "count", 7, help="How many.")

    assert [o.name for o in options(Other)] == [o.name for o in options(Example)]
    ours, base = ({o.name: o for o in options(cls)} for cls in (Other, Example))
    assert ours["weight"] == dataclasses.replace(base["weight"], default=0.9)
    assert ours["count"] == dataclasses.replace(base["count"], default=7, help="How many.")


@pytest.mark.parametrize("method", METHODS)
def test_no_help_of_the_command_line_names_an_empty_default(method):
    parser = argparse.ArgumentParser()
    add_settings(parser, load(method).settings)
    for action in parser._actions:
        assert not re.search(r"default *[);]|default None|\(\)", action.help), action.help


def test_a_number_that_no_float_holds_is_out_of_range() -> None:
    for name in ("iterations", "damping"):
        with pytest.raises(SettingsError, match=f"{name} is "):
            load("richardson-lucy").settings(**{name: 10**400})
