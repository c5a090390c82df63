"""Import paths that documentation used to show."""

import importlib
import subprocess
import sys

import pytest

from heliorestore.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_still_works_and_says_the_new_one(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=MOVED[old]):
        module = importlib.import_module(old)
    assert module is importlib.import_module(MOVED[old])
    assert module.__spec__.name == MOVED[old]
    del sys.modules[old]


def test_the_names_that_were_shown_are_still_there() -> None:
    code = (
        "from heliorestore.methods.memory import memory_estimate, memory_need\n"
        "from heliorestore.methods.suggest import suggest\n"
        "from heliorestore.methods.wavefronts import psfs_at\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stderr.count("DeprecationWarning") == 3
    assert "<string>:1" in ran.stderr  # the warning points to the line of the user's own


def test_what_never_was_is_still_missing() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("heliorestore.methods.nothing")
