"""The site has every page, and what its reference shows is what the code has."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import heliorestore
from heliorestore.commands import COMMANDS
from heliorestore.instrument import KNOWN
from heliorestore.methods import METHODS
from heliorestore.methods.base import load
from heliorestore.settings import options

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def site() -> Any:
    """The module that makes the pages of the site."""
    spec = importlib.util.spec_from_file_location("site_pages", DOCS / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on_shelves(entries: Any) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    return [
        page for each in entries for page in on_shelves(each.values() if isinstance(each, dict) else each)
    ]


def test_every_page_is_on_one_shelf(site: Any) -> None:
    found = on_shelves(site.SHELVES.values())
    assert len(set(found)) == len(found)
    assert {page.stem for page in DOCS.glob("*.md")} | site.MADE <= set(found)


def test_a_page_that_is_not_written_yet_has_no_entry(site: Any) -> None:
    shelves = [{"Here": "index"}, {"Papers": "no-such-page"}, {"More": ["optics", "no-such-page"]}]
    assert site._entries(shelves) == [{"Here": "index.md"}, {"More": ["optics.md"]}]


def test_links_stay_in_the_site_or_name_the_file(site: Any) -> None:
    for name in site.TOP_PAGES:
        page = site.within_site(site.from_top(name))
        for target in re.findall(r"\]\(([^)#]+)[)#]", page):
            stem, inside = target.removesuffix(".md"), "://" not in target
            assert not inside or (DOCS / target).exists() or stem in site.MADE, f"{name} points to {target}"
    assert site.within_site("[short](../examples/)") == "[short](gallery.md)"
    assert site.within_site("[a](../src/x.py) [`y.py`](../src/y.py) [new](../CHANGELOG.md#b)") == (
        "a (`src/x.py`) `src/y.py` [new](changelog.md#b)"
    )


def test_the_reference_has_every_name_setting_flag_and_instrument(site: Any) -> None:
    api, settings, instruments = site.api_page(), site.settings_page(), site.instruments_page()
    assert all(f".{name}\n" in api for name in heliorestore.__all__)
    for method in METHODS:
        section = settings.partition(f"## {method}\n")[2].partition("\n## ")[0]
        rows = {row.split("`")[1]: row for row in section.splitlines() if row.startswith("| `")}
        for option in options(load(method).settings):
            row = rows.pop(option.name)
            assert f"`{option.flag}`" in row
            assert (" | live | " in row) == option.live
            assert f" | {option.unit} | " in row
        assert not rows
    assert all(f"`{name}`" in instruments for name in KNOWN)


def test_every_command_shows_its_help(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "usage: heliorestore cite " in site._help("cite")
    monkeypatch.setattr(site, "_help", lambda name: f"help of {name}\n")  # some load half of the package
    page = site.commands_page()
    for name in (*METHODS, *COMMANDS):
        assert f"## heliorestore {name}\n\n```text\nhelp of {name}\n" in page
