"""The pages of the site that are not in docs/: README, changelog, a reference read from the code, a gallery.

`make site` builds the site, and mkdocs calls the functions `on_...`. Settings come from their records, flags
from the commands' own help, names from their docstrings; the gallery runs examples/*.py and shows what they
draw and print.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
import runpy
import tempfile
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

SHELVES: dict[str, Any] = {
    "Start here": "index",
    "Tutorials": ["tutorial", "sdo", "sst", "gregor", "dkist", "imax"],
    "How-to": [
        {"Open and look": ["opening", "napari"]},
        {"Restore": ["sv-momfbd", "momfbd", "mfbd", "enhance", "denoise", "polarimetry", "richardson-lucy"]},
        {"Decide and check": ["comparing", "quality", "register", "simulation"]},
        {"Keep": ["exporting", "nights"]},
        {"Extend": ["writing-a-method", "contributing", "releasing", "gpu"]},
    ],
    "Explanation": ["optics", "emulator", "benchmarks", "lab-book", "layout", "sunpy-affiliation"],
    "Reference": ["settings", "commands", "api", "instruments", "sv-momfbd-reference"],
    "Gallery": "gallery",
    "Papers": "papers",
    "Reliability": "reliability",
    "What's new": ["changelog", "release-0.1.0"],
}
"""The pages by what a reader wants; one that is not written yet gets no entry."""

TOP_PAGES = {
    name: page
    for name, page in {
        "README.md": "index.md",
        "CHANGELOG.md": "changelog.md",
        "CONTRIBUTING.md": "contributing.md",
    }.items()
    if (ROOT / name).exists()
}
"""Files at the top of the repository that are pages of the site."""


# -- what mkdocs calls ---------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Make the navigation, of the pages that there are."""
    config.nav = _entries([{shelf: pages} for shelf, pages in SHELVES.items()])
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and pictures that are made here."""
    from mkdocs.structure.files import File

    made = {f"{name}.md": page() for name, page in PAGES.items()} | gallery()
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that lead out of docs/ stay in the site, and a table may follow a comment."""
    if page.parent is None:  # alone on its shelf: there is nothing to list beside it
        page.meta.setdefault("hide", ["navigation"])
    return within_site(re.sub(r"-->\n(?=\|)", "-->\n\n", markdown))


def _entries(pages: Any) -> Any:
    """Shelves as mkdocs names them: files, and lists of files under a title."""
    if isinstance(pages, str):
        return f"{pages}.md" if pages in MADE or (DOCS / f"{pages}.md").exists() else None
    if isinstance(pages, dict):
        found = {title: _entries(below) for title, below in pages.items()}
        return {title: below for title, below in found.items() if below}
    return [entry for each in pages if (entry := _entries(each))]


# -- pages from the top of the repository --------------------------------------------------------------------


def within_site(markdown: str) -> str:
    """Markdown of a page in docs/ whose links to `../FILE` are pages of the site, or the file's path."""

    def link(found: re.Match[str]) -> str:
        label, path, anchor = found.groups()
        page = "gallery.md" if path == "examples/" else TOP_PAGES.get(path)
        if page:
            return f"[{label}]({page}{anchor or ''})"
        return f"`{path}`" if path.endswith(label.strip("`")) else f"{label} (`{path}`)"

    return re.sub(r"(?<!!)\[([^]]+)\]\(\.\./([^)#]+)(#[^)]*)?\)", link, markdown)


def from_top(name: str) -> str:
    """A file at the top of the repository as a page of docs/."""

    def moved(found: re.Match[str]) -> str:
        target = found[1]
        if "://" in target or target.startswith("#"):
            return found[0]
        return f"]({target.removeprefix('docs/')})" if target.startswith("docs/") else f"](../{target})"

    return re.sub(r"\]\(([^)]+)\)", moved, (ROOT / name).read_text(encoding="utf-8"))


# -- reference -----------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every setting of every method, from the records of which form, flags and files are made."""
    from heliorestore.methods import METHODS
    from heliorestore.methods.base import load
    from heliorestore.preparation import Preparation

    parts = [
        "# Every setting\n\n"
        "From the records of which panels, flags and the table `SETTINGS` of a file are made. In Python they "
        "are the fields of the method's [settings](api.md#settings). A *live* setting may change while the "
        "method runs: with a knob of the panel, or by `send`. What all methods take besides is on the page "
        "of [commands](commands.md); what they write is on that of [exporting](exporting.md)."
    ]
    for name, entry in METHODS.items():
        parts += [f"## {name}", entry.summary, _table(load(name).settings)]
    parts += [
        "## Preparation of the frames",
        "Before every method; see [raw frames](opening.md#raw-frames-dark-flat-field-bad-pixels).",
        _table(Preparation),
    ]
    return "\n\n".join(parts) + "\n"


def _table(cls: Any) -> str:
    from heliorestore.settings import options

    rows = ["| setting, flag | default | unit | values | live | meaning |", "|---|---|---|---|---|---|"]
    for each in options(cls):
        flag = f"{each.flag}`<br>`--no-{each.flag[2:]}" if each.type is bool else each.flag
        default = f"`{each.default_text}`" if each.default_text else "none"
        values = each.range_text or {bool: "on, off", str: "text"}.get(each.type, "any")
        cells = (
            f"`{each.name}`<br>`{flag}`", default, each.unit, values, "live" if each.live else "", each.help,
        )  # fmt: skip
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "<div class=settings markdown>\n\n" + "\n".join(rows) + "\n\n</div>"


def _cell(text: str) -> str:
    """Text that stays text in a table."""
    return text if text.startswith("`") else text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def commands_page() -> str:
    """Every command with its own help."""
    from heliorestore.commands import COMMANDS
    from heliorestore.methods import METHODS

    parts = [
        "# Every command\n\nA mistake gives one line and exit status 2. Ctrl-C stops after the current step."
    ]
    for name in ("", *METHODS, *COMMANDS):
        title = f"heliorestore {name}".strip()
        parts.append(f"## {title}\n\n```text\n{_help(name)}```")
    return "\n\n".join(parts) + "\n"


def _help(command: str) -> str:
    from heliorestore.cli import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*command.split(), "--help"])
    return printed.getvalue()


def instruments_page() -> str:
    """The known instruments, from their records."""
    from heliorestore.instrument import KNOWN

    rows = ["| name | camera | aperture [m] | obscured [m] | pixel [arcsec] | wavelength [nm] | PSF |"]
    rows.append("|---|---|---|---|---|---|---|")
    for key, known in KNOWN.items():
        figures = (known.diameter_m, known.obscuration_m, known.pixel_arcsec, known.wavelength_nm)
        cells = (f"`{key}`", known.name, *(f"{each:g}" if each else "" for each in figures), known.psf)
        rows.append("| " + " | ".join(cells) + " |")
    about = (
        "For `--instrument` and the panels; recognised by the header of a file where it has one of them. "
        "[How an unknown camera is described](opening.md#when-the-instrument-is-not-in-the-header)."
    )
    return f"# Known instruments\n\n{about}\n\n" + "\n".join(rows) + "\n"


def api_page() -> str:
    """The public names of the package, from their docstrings."""
    import heliorestore
    from heliorestore.settings import Settings

    about = "Their fields, with defaults and ranges, are on the page of [settings](settings.md)."
    shelves = {"Functions": [""], "Records": [""], "Settings": [about]}
    for name in heliorestore.__all__:
        value = getattr(heliorestore, name)
        shelf, shown = "Functions", "{}"
        if inspect.isclass(value):
            shelf, shown = "Records", f"{{show_if_no_docstring: {str(issubclass(value, Enum)).lower()}}}"
        if inspect.isclass(value) and issubclass(value, Settings):
            shelf, shown = "Settings", "{members: false, merge_init_into_class: false}"
        shelves[shelf].append(f"::: {value.__module__}.{name}\n    options: {shown}")
    parts = ["# Python\n\nWhat `import heliorestore` gives; the [first page](index.md) has the first lines."]
    parts += [f"## {shelf}\n\n" + "\n\n".join(names) for shelf, names in shelves.items()]
    return "\n\n".join(parts) + "\n"


# -- gallery -------------------------------------------------------------------------------------------------


def gallery() -> dict[str, str | bytes]:
    """The page of the gallery and its pictures, by their files: every example is run."""
    made: dict[str, str | bytes] = {}
    cards, sections = [], []
    for path in EXAMPLES:
        code = path.read_text(encoding="utf-8")
        title, _, about = (ast.get_docstring(ast.parse(code)) or "").partition(".\n")
        with tempfile.TemporaryDirectory() as folder:
            printed = _run(path, Path(folder))
            (drawn,) = Path(folder).glob("*.png")
            picture = f"gallery/{path.stem}.png"
            made[picture] = drawn.read_bytes()
        cards.append(f"[![{title}]({picture}) {title}](#{path.stem})")
        sections.append(
            f"## {title} {{ #{path.stem} }}\n\n{about.strip()}\n\n![{title}]({picture})\n\n"
            f"```python\n{_after_docstring(code)}```\n\nIt prints:\n\n```text\n{printed}```"
        )
    about = "Each is a script in `examples/`, on the bundled samples; the pictures were made with this site."
    page = f"# Gallery\n\n{about}\n\n<div class=cards markdown>\n\n" + "\n\n".join(cards) + "\n\n</div>\n\n"
    return {"gallery.md": page + "\n\n".join(sections) + "\n"} | made


def _run(path: Path, folder: Path) -> str:
    """What an example prints that is run in that folder."""
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        runpy.run_path(str(path), run_name="__main__")
    return printed.getvalue()


def _after_docstring(code: str) -> str:
    (first, *_) = ast.parse(code).body
    return "".join(code.splitlines(keepends=True)[first.end_lineno :]).lstrip()


PAGES: dict[str, Callable[[], str]] = {
    **{page.removesuffix(".md"): partial(from_top, name) for name, page in TOP_PAGES.items()},
    "settings": settings_page,
    "commands": commands_page,
    "instruments": instruments_page,
    "api": api_page,
}
MADE = {*PAGES, "gallery"}
