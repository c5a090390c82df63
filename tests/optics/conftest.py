from __future__ import annotations

from pathlib import Path

import pytest

from accelerator import accelerator


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own cache of modes."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder)
    return folder


@pytest.fixture(params=["cpu", "accelerator"])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cpu":
        return "cpu"
    return accelerator() or pytest.skip("no GPU on this machine; tests/device pretends to have one")
