"""The files `on_*.py` here need an accelerator: `tests/test_pretended_device.py` runs them on one that is
pretended, and `benchmarks/gpu.sh` on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accelerator import accelerator


@pytest.fixture(params=["accelerator"])
def device() -> Iterator[str]:
    """The accelerator; a pretended one has no double precision."""
    name = accelerator()
    if not name:
        pytest.skip("no GPU on this machine")
    if name != "pretend":
        yield name
        return
    from pretend_device import rules

    with rules(double=False):
        yield name
