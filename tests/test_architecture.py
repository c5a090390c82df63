"""Who may import whom: the rules of the package, read from its source and from `sys.modules`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import heliorestore

PACKAGE = Path(heliorestore.__file__).parent
RECORDS = {"errors", "instrument", "burst", "snapshot", "settings"}

# What each part may import of the package; `heliorestore` itself stands for __version__.
ALLOWED = {
    "errors": set(),
    "instrument": {"errors"},
    "settings": {"errors"},
    "burst": {"errors", "instrument"},
    "snapshot": {"errors", "instrument", "burst", "settings"},
    "samples": set(),
    "output": {"errors"},
    "optics": RECORDS,
    "nets": RECORDS | {"optics"},
    "simulate": RECORDS | {"optics"},
    "methods": RECORDS | {"optics", "nets", "quality", "output"},
    "quality": RECORDS,
    "presets": RECORDS,
    "measures": RECORDS | {"optics", "quality"},
    "charts": RECORDS | {"measures", "quality"},
    "fits": RECORDS | {"heliorestore", "output"},
}
TOPS = {"batch", "cli", "plugin", "quality_command", "simulation", "train", "weights_command"}  # may import everything but one another
TOP_EXCEPTIONS = {
    ("cli", "plugin"): "the sub-command `view` opens napari",
    ("cli", "train"): "the sub-command `train` runs a recipe",
    ("cli", "simulation"): "the sub-command `simulate` joins simulate and fits",
    ("cli", "quality_command"): "the sub-command `quality` joins measures and fits",
    ("cli", "weights_command"): "the sub-command `weights` joins nets, methods and fits",
    ("cli", "batch"): "the sub-command `batch` drains many streams",
}
GUI = {"qtpy", "PyQt5", "PyQt6", "PySide6", "napari", "magicgui", "superqt", "vispy", "npe2"}


def modules() -> list[tuple[str, Path]]:
    return [
        (".".join(path.relative_to(PACKAGE).with_suffix("").parts), path)
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"
    ]


def imported(path: Path) -> set[str]:
    """Every absolute module name that a file imports anywhere, those for type checkers included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_module_imports_only_what_its_layer_may(name: str, path: Path) -> None:
    part = name.partition(".")[0]
    for target in imported(path):
        head, _, rest = target.partition(".")
        if head in GUI:
            assert part == "plugin", f"{name} imports {target}: Qt and napari live in plugin/"
        if head != "heliorestore":
            continue
        used = rest.split(".")[0]
        if used not in ALLOWED.keys() | TOPS:  # a name of the package's own surface
            used = "heliorestore"
        if used == part:
            continue
        if part in TOPS:
            assert used not in TOPS or (part, used) in TOP_EXCEPTIONS, f"{name} imports {target}"
        else:
            assert used in ALLOWED[part], f"{name} imports {target}; {part} may import {sorted(ALLOWED[part])}"


def test_every_part_has_a_rule() -> None:
    parts = {name.partition(".")[0] for name, _ in modules()}
    assert parts <= ALLOWED.keys() | TOPS, parts


def test_there_is_no_cycle() -> None:
    names = {name.removesuffix(".__init__") for name, _ in modules()}
    graph = {}
    for name, path in modules():
        targets = {target.removeprefix("heliorestore.") for target in imported(path)}
        graph[name.removesuffix(".__init__")] = {n for n in names for t in targets if t == n or t.rpartition(".")[0] == n}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for target in sorted(graph[name] - {name}):
                visit(target, (*above, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_the_public_surface_is_small_and_complete() -> None:
    assert len(heliorestore.__all__) <= 15
    for name in heliorestore.__all__:
        assert getattr(heliorestore, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'restor'"):
        _ = heliorestore.restor


HEAVY = {"torch", "matplotlib", "tqdm", *GUI}


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import heliorestore", HEAVY | {"numpy", "astropy", "dask"}),
        ("import heliorestore.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass", HEAVY | {"numpy", "astropy"}),
        ("import heliorestore as h; h.read, h.write, h.Burst, h.Snapshot, h.Instrument", HEAVY),
        ("import heliorestore.methods.base, heliorestore.methods.richardson_lucy", GUI),
        ("import heliorestore.plugin.readers, heliorestore.plugin.writers, heliorestore.plugin.samples", {"torch", "matplotlib"}),
    ],
    ids=["import", "help", "read and write", "methods", "npe2 commands"],
)
def test_what_is_not_loaded(code: str, forbidden: set[str]) -> None:
    check = f"{code}\nimport sys; loaded = {forbidden!r} & sys.modules.keys(); assert not loaded, loaded"
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_no_module_grows_beyond_one_idea() -> None:
    long = {name: lines for name, path in modules() if (lines := len(path.read_text().splitlines())) > 420}
    assert not long, long
