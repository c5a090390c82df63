"""Every code block of the README and the docs runs: Python blocks of a page share a namespace, commands are
called as `heliorestore` calls them."""

import re
import shlex
import sys
import types
from pathlib import Path

import pytest

from heliorestore.cli import main
from heliorestore.docs_pages import PAGES as HELPING
from heliorestore.fits.layouts import LAYOUTS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN_ONLY = {"make": "the tests themselves run under make", "pip": "installing is tried with the wheel"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the sample data beside it, as a reader of the page has it."""
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file or dataset with which the page of an observatory begins."""
    if page.name == "sdo.md":
        from observatory_files import write_as_jsoc

        write_as_jsoc(folder)
    if page.name == "dkist.md":
        import dkist

        from observatory_files import vbi

        monkeypatch.setattr(dkist, "load_dataset", lambda name: {(0, 0): vbi()})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_blocks_run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(page, folder, monkeypatch)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # dataclasses and the method table look names up there
    methods = __import__("heliorestore.methods", fromlist=["METHODS"]).METHODS
    monkeypatch.setattr("heliorestore.methods.METHODS", methods)
    before = dict(methods)
    try:
        for language, code in BLOCK.findall(page.read_text()):
            if language == "python":
                exec(compile(code, f"{page.name}", "exec"), module.__dict__)
            elif language == "bash":
                for line in code.splitlines():
                    run_command(line)
    finally:
        methods.clear()
        methods.update(before)


def run_command(line: str) -> None:
    """Call the command in this process: each in one of its own would load torch for most of its time."""
    name, *arguments = shlex.split(line, comments=True)
    if name in SHOWN_ONLY:
        return
    assert name == "heliorestore", f"the page shows a command that is not ours: {line}"
    assert main([*arguments, "--debug"]) == 0, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_the_page_on_opening_lists_every_layout() -> None:
    page = (ROOT / "docs" / "opening.md").read_text()
    for name, meaning in LAYOUTS.items():
        assert f"| `{name}` | {meaning} |" in page


def test_an_error_names_a_page_and_a_section_that_there_are() -> None:
    for room, page in HELPING.items():
        if page:
            name, _, section = page.partition("#")
            headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / name).read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert section in slugs | {""}, f"{room}: {page}"
        place = ROOT / "src" / "heliorestore" / room.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").exists(), room
