"""What several tests share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the bursts that several tests restore


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference data beside the repository; it is on the developers' machines only."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the reference data are not at {folder.name!r} beside the repository")
    return folder
