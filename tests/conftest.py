"""What all tests share: folders and screens of their own, and how they are dealt out to the processes that
run them.

What several files import lies in `shared/`, which pyproject.toml puts on the path.
"""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest

TESTS = Path(__file__).parent

# Nothing of the user's is read or written, and no process that runs tests meets the files of another. The
# first process makes the folder and takes it away; the others, which it starts, have theirs inside.
FOLDER = Path(tempfile.mkdtemp(prefix="heliorestore-tests-", dir=os.environ.get("HELIORESTORE_TESTS_FOLDER")))
if "HELIORESTORE_TESTS_FOLDER" not in os.environ:
    atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
os.environ.setdefault("HELIORESTORE_TESTS_FOLDER", str(FOLDER))
os.environ.setdefault("MPLCONFIGDIR", str(FOLDER / "matplotlib"))  # one list of fonts for all
for kind in ("CONFIG", "DATA", "CACHE", "STATE"):
    (FOLDER / kind.lower()).mkdir()
    os.environ[f"XDG_{kind}_HOME"] = str(FOLDER / kind.lower())
os.environ["NAPARI_CONFIG"] = ""  # no file: napari would write it anew with every panel

hypothesis.settings.register_profile("ci", max_examples=30, deadline=None)
hypothesis.settings.register_profile("gauntlet", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many as this process may use cores; a test run may be held to fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Two windows on one screen would take the focus from each other, so each process has a virtual screen.
OWN_SCREENS = sys.platform == "linux" and shutil.which("Xvfb") is not None


# In this order, so that what the processes run last is short.
SLOW = (
    "tests/plugin/panels/",
    "tests/plugin/",
    "tests/test_docs.py",
    "tests/methods/",
    "tests/diagnose/",
    "tests/simulate/",
    "tests/train/",
    "tests/test_pretended_device.py",
    "tests/batch/",
    "tests/test_cli.py",
    "tests/test_gpu_benchmark.py",
)
ALONE = ("tests/test_docs.py",)  # whose tests share nothing: each may run in another process


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a process that runs tests a screen of its own; it goes with the first process."""
    if OWN_SCREENS:
        ours, theirs = os.pipe()  # Xvfb takes a number that is free, and says which
        command = ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
        screen = subprocess.Popen(command, pass_fds=[theirs], stderr=subprocess.DEVNULL)
        atexit.register(screen.wait)
        atexit.register(screen.terminate)
        os.close(theirs)
        with os.fdopen(ours) as told:
            node.workerinput["display"] = f":{told.readline().strip()}"


def pytest_configure(config: pytest.Config) -> None:
    if display := getattr(config, "workerinput", {}).get("display"):
        os.environ["DISPLAY"] = display


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests run in one process, which makes what they share once; where the processes share a
    screen, all that opens windows runs in one of them. The files that take longest come first, so that the
    processes end together.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if file in ALONE:
                return nodeid
            return "tests/plugin" if file.startswith("tests/plugin/") and not OWN_SCREENS else file

    config.option.loadscopereorder = False  # it puts many tests before long ones
    return Files(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(
            key=lambda item: next((n for n, s in enumerate(SLOW) if item.nodeid.startswith(s)), len(SLOW))
        )


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what the imports made is no garbage, and is not searched for any


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference data beside the repository; it is on the developers' machines only."""
    folder = TESTS.resolve().parents[1] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the reference data are not at {folder.name!r} beside the repository")
    return folder
