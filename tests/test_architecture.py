"""Who may import whom: the rules of the package, read from its source and from `sys.modules`."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import heliorestore
from heliorestore.methods import METHODS

PACKAGE = Path(heliorestore.__file__).parent
TESTS = Path(__file__).parent
BASE = {"errors", "storage", "budget"}  # everything may use them
RECORDS = {
    "cameras",
    "coordinates",
    "own_instruments",
    "instrument",
    "selection",
    "preparation",
    "burst",
    "snapshot",
    "settings",
    "presets",
    "samples",
} | BASE
PHYSICS = RECORDS | {"optics"}

# What each part may import of the package besides itself; `heliorestore` stands for __version__.
ALLOWED = {
    "errors": set(),
    "storage": {"errors"},
    "budget": set(),
    "docs_pages": set(),
    "moved": set(),
    "process": set(),
    "samples": BASE,
    "cameras": set(),
    "coordinates": set(),
    "own_instruments": BASE,
    "instrument": BASE | {"cameras", "own_instruments"},
    "settings": BASE,
    "selection": BASE,
    "preparation": BASE | {"settings"},
    "presets": BASE | {"settings"},
    "burst": BASE | {"coordinates", "instrument", "selection", "preparation"},
    "snapshot": BASE | {"coordinates", "instrument", "burst", "settings", "selection", "preparation"},
    "optics": RECORDS,
    "quality": PHYSICS,  # the noise of an image is optics
    "simulate": PHYSICS,
    "nets": PHYSICS,
    # a dark frame, or a burst again, is in a file; a series is registered as images are compared
    "prepare": PHYSICS | {"fits", "quality"},
    "polarimetry": PHYSICS | {"quality", "fits", "prepare"},
    "methods": PHYSICS | {"quality", "nets", "prepare"},
    "diagnose": PHYSICS | {"quality", "nets", "prepare", "methods"},
    "fits": RECORDS | {"heliorestore"},
    "bridges": RECORDS | {"fits"},
    "cli": {"docs_pages", "errors", "heliorestore", "methods", "commands", "process"},
}
TOPS = {"batch", "commands", "plugin", "train"}  # may import everything below, but one another only here:
TOP_EXCEPTIONS = {
    ("commands", "plugin"): {"commands.view"},
    ("commands", "train"): {"commands.train"},
    ("commands", "batch"): {"commands.batch", "commands.cube", "commands.movie"},
    ("plugin", "batch"): {"plugin.runs.queue"},
}

# Rooms within rooms; a name that ends in * is every module of that room that has no rule of its own.
ROOMS = {
    "methods": {
        "methods.blind": {"methods.blind"},
        "methods.denoising": {"methods.denoising"},
        "methods.base": {"methods", "methods.coverage", "methods.history", "methods.watch"},
        "methods.coverage": set(),
        "methods.history": set(),
        "methods.watch": set(),
        "methods.checkpoint": {"methods.history"},
        # a method knows no other method
        "methods.committee": set(),
        "methods.*": {
            "methods.blind",
            "methods.denoising",
            "methods.committee",
            "methods.checkpoint",
            "methods.history",
            "methods.watch",
        },
    },
    "plugin": {
        "plugin.preferences": set(),
        "plugin.viewer": {"plugin.viewer", "plugin.preferences"},
        "plugin.npe2": {"plugin.npe2", "plugin.viewer", "plugin.preferences"},
        "plugin.runs": {"plugin.runs", "plugin.viewer", "plugin.preferences"},
        "plugin.widgets": {"plugin.widgets", "plugin.runs", "plugin.viewer", "plugin.preferences"},
        "plugin.panels": {
            "plugin.panels",
            "plugin.widgets",
            "plugin.runs",
            "plugin.npe2",
            "plugin.viewer",
            "plugin.preferences",
        },
        "plugin.launch": {"plugin.panels", "plugin.npe2", "plugin.viewer"},
        "plugin.screen": set(),
    },
}
GUI = {"qtpy", "PyQt5", "PyQt6", "PySide6", "napari", "magicgui", "superqt", "vispy", "npe2"}
HEAVY = {"torch", "matplotlib", "sunpy", "ndcube", "dkist", *GUI}
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "misc", "common", "manager", "tools", "core"}


def modules() -> dict[str, Path]:
    found = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    return {name.removesuffix(".__init__"): path for name, path in found.items() if name != "__init__"}


MODULES = modules()


@functools.cache
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


@functools.cache
def used(name: str) -> set[str]:
    """The modules of the package that a module imports; names of the package's own surface are
    `heliorestore`."""
    found = set()
    for target in imported(MODULES[name]):
        head, _, rest = target.partition(".")
        if head == "heliorestore":
            found.add(
                next(
                    (module for module in (rest, rest.rpartition(".")[0]) if module in MODULES),
                    "heliorestore",
                )
            )
    return found


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_its_layer_may(name: str) -> None:
    part = name.partition(".")[0]
    assert part in ALLOWED or part in TOPS, f"{name} has no rule: say in this file what it may import"
    for target in imported(MODULES[name]):
        if target.partition(".")[0] in GUI:
            assert part == "plugin", f"{name} imports {target}: Qt and napari live in plugin/"
    for target in used(name):
        other = target.partition(".")[0]
        if other == part:
            continue
        if part in TOPS:
            assert other not in TOPS | {"cli"} or name in TOP_EXCEPTIONS.get((part, other), ()), (
                f"{name} imports {target}"
            )
        else:
            assert other in ALLOWED[part], (
                f"{name} imports {target}; {part} may import {sorted(ALLOWED[part])}"
            )


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.partition(".")[0] in ROOMS and "." in name]
)
def test_a_room_imports_only_its_neighbours_below(name: str) -> None:
    part = name.partition(".")[0]
    room = ".".join(name.split(".")[:2])
    allowed = ROOMS[part].get(room, ROOMS[part].get(f"{part}.*"))
    assert allowed is not None, f"{name} has no rule: say in this file what {room} may import"
    for target in used(name):
        if target.partition(".")[0] == part and target != name:
            assert ".".join(target.split(".")[:2]) in allowed, (
                f"{name} imports {target}; {room} may import {sorted(allowed)}"
            )


def test_there_is_no_cycle() -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for target in sorted(used(name) - {name, "heliorestore"}):
                visit(target, (*above, name))
            done.add(name)

    for name in sorted(MODULES):
        visit(name, ())


def test_files_are_written_and_the_users_folders_found_in_one_place() -> None:
    found = {name: calls for name in MODULES if name != "storage" and (calls := writes(name))}
    assert not found, f"go through storage.atomic_write, replacing or user_folder: {found}"
    assert writes("storage"), "what is looked for is no longer what storage does"


# a version of a result, and /dev/null
NO_FILES = {("plugin.widgets.version_list", "rename"), ("process", "open")}
IN_PLACE = {"mkstemp", "mktemp", "NamedTemporaryFile", "rename", "renames", "write_text", "write_bytes"}


def writes(name: str) -> list[str]:
    """The calls of a module that write in place, rename or leave a temporary file, and platformdirs.

    `TemporaryFile` has no name and leaves nothing.
    """
    found = ["platformdirs"] * ("platformdirs" in imported(MODULES[name]))
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, (ast.Attribute, ast.Name)):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        of = getattr(getattr(node.func, "value", None), "id", "")
        # a text's takes two arguments, a record's takes keywords
        of_path = called == "replace" and len(node.args) == 1 and not node.keywords
        given = [each.value for each in (*node.args, *(k.value for k in node.keywords)) if is_text(each)]
        to_write = called in {"open", "fdopen"} and any(re.fullmatch("r?[bt]?[wax+][bt+]*", m) for m in given)
        if (
            called in IN_PLACE
            or (of, called) in {("os", "replace"), ("os", "open"), ("shutil", "move")}
            or of_path
            or to_write
        ) and (name, called) not in NO_FILES:
            found.append(f"{called} in line {node.lineno}")
    return found


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_the_table_of_methods_names_methods_diagnose_and_fits_alone() -> None:
    for entry in METHODS.values():
        rooms = (
            (entry.target, "methods."),
            (entry.prepare, "diagnose."),
            (entry.check, "diagnose."),
            (entry.start, "fits."),
        )
        for target, room in rooms:
            module = target.partition(":")[0].removeprefix("heliorestore.")
            assert not target or (module.startswith(room) and module in MODULES), target


def test_no_method_opens_files_of_images() -> None:
    for name, path in MODULES.items():
        if name.startswith("methods"):
            assert not {each for each in imported(path) if each.startswith("astropy.io")}, name


def test_a_command_has_the_shape_of_all_commands() -> None:
    from heliorestore.commands import COMMANDS

    for name in (*COMMANDS, "restore"):
        defined = {
            node.name: node
            for node in ast.parse(MODULES[f"commands.{name}"].read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        for function, argument in (("add_arguments", "parser"), ("run", "parsed")):
            assert [a.arg for a in defined[function].args.args] == [argument], f"commands.{name}.{function}"


def test_the_public_surface_is_small_and_complete() -> None:
    assert len(heliorestore.__all__) <= 20
    for name in heliorestore.__all__:
        assert getattr(heliorestore, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'restor'"):
        _ = heliorestore.restor


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import heliorestore", HEAVY | {"numpy", "astropy", "dask"}),
        (
            "import heliorestore.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass",
            HEAVY | {"numpy", "astropy", "dask"},
        ),
        ("import heliorestore as h; h.read, h.write, h.Burst, h.Snapshot, h.Instrument", HEAVY),
        ("import heliorestore.methods.base, heliorestore.methods.richardson_lucy", GUI | {"psutil"}),
        (
            "from heliorestore.plugin.npe2 import menu_commands, readers, samples, writers",
            {"torch", "matplotlib"},
        ),
    ],
    ids=["import", "help", "read and write", "methods", "npe2 commands"],
)
def test_what_is_not_loaded(code: str, forbidden: set[str]) -> None:
    check = f"{code}\nimport sys; loaded = {forbidden!r} & sys.modules.keys(); assert not loaded, loaded"
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_no_module_grows_beyond_one_idea() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert not {name: count for name, count in lines.items() if count > 430}


@pytest.mark.parametrize("name", MODULES)
def test_no_function_is_longer_than_a_page(name: str) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = (node for node in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(node, functions))
    assert not {node.name for node in found if (node.end_lineno or 0) - node.lineno >= 60}


def test_the_plugin_knows_methods_by_name_in_one_table() -> None:
    """Besides the table of panels, a panel for one method names its own."""
    found = set()
    for name in MODULES:
        if name.partition(".")[0] != "plugin":
            continue
        tree = ast.parse(MODULES[name].read_text())
        table = {("plugin.launch", "PANELS")}
        own = {
            id(node)
            for each in ast.walk(tree)
            if (isinstance(each, ast.AnnAssign) and getattr(each.target, "id", "") == "method")
            or (isinstance(each, ast.Assign) and (name, getattr(each.targets[0], "id", "")) in table)
            for node in ast.walk(each)
        }
        found |= {
            (name, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node.value in METHODS and id(node) not in own
        }
    assert not found, f"say in heliorestore.methods.METHODS what is particular about a method: {found}"


def test_names_say_what_modules_hold() -> None:
    last = [name.rpartition(".")[2] for name in MODULES]
    assert not SAYS_NOTHING & set(last)


def test_every_room_says_what_it_holds_in_a_sentence() -> None:
    for name, path in MODULES.items():
        if path.name == "__init__.py":
            first = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0]
            assert first.endswith("."), f"{name}: {first}"


def test_the_tests_mirror_the_package() -> None:
    rooms = {str(path.parent.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")} - {"."}
    assert all((PACKAGE / room / "__init__.py").exists() for room in rooms), rooms


def test_a_part_of_a_panel_says_what_it_asks_of_the_panel() -> None:
    for name in MODULES:
        if name.startswith("plugin.panels."):
            for node in ast.walk(ast.parse(MODULES[name].read_text())):
                if isinstance(node, ast.arg) and node.arg == "panel":
                    assert ast.unparse(node.annotation or ast.Constant(None)) not in {"Any", "None"}, name
