"""Modes on pupil pixels, kept in the user's cache folder; the key is every input, dtype, version."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heliorestore.optics.modes import Basis
from heliorestore.optics.pupil import pupil_coordinates, transmission
from heliorestore.storage import atomic_write, user_folder

_VERSION = 1  # increase it when the numbers change: older files are then ignored
_LARGEST_FILE = 64 * 2**20
_DIGEST_BYTES = 32


def sampled_modes(
    basis: Basis, diameter_px: float, dtype: npt.DTypeLike = np.float64
) -> npt.NDArray[np.floating]:
    """Values (mode, y, x) at the pupil's pixels, 0 where no light passes; read from the cache or computed and
    put there.

    If a file is damaged, or the folder cannot be written, the modes are computed.
    """
    n = pupil_coordinates(diameter_px).size
    shape = (basis.count, n, n)
    path = cache_file(basis, diameter_px, dtype)
    found = _load(path, shape, dtype)
    if found is not None:
        return found
    axis = pupil_coordinates(diameter_px)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    # A partly lit pixel counts too: its amplitude is small, its phase is not.
    lit = transmission(basis.aperture, diameter_px) > 0
    modes = np.zeros(shape, dtype)
    modes[:, lit] = basis.sample(y[lit], x[lit])
    if modes.nbytes <= _LARGEST_FILE:
        _store(path, modes)
    return modes


def cache_file(basis: Basis, diameter_px: float, dtype: npt.DTypeLike) -> Path:
    """Where the modes of that basis, pupil and dtype are kept."""
    inputs = (
        _VERSION,
        basis.kind,
        basis.count,
        dataclasses.astuple(basis.aperture),
        # Exact: a rounded diameter would share its file with another one.
        float(diameter_px).hex(),
        np.dtype(dtype).str,
    )
    key = hashlib.sha256(repr(inputs).encode()).hexdigest()
    return user_folder("modes") / f"{key}.npy"


def _load(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.floating] | None:
    """The stored modes, or None if there are none or the file has changed since it was written."""
    try:
        content = path.read_bytes()
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            return None
        # Without pickle: a file in a cache folder must not run code.
        modes: npt.NDArray[np.floating] = np.load(io.BytesIO(body), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return modes if modes.shape == shape and modes.dtype == np.dtype(dtype) else None


def _store(path: Path, modes: npt.NDArray[np.floating]) -> None:
    """Save the modes after their checksum; if that fails they are computed again next time."""
    body = io.BytesIO()
    np.save(body, modes, allow_pickle=False)
    content = body.getvalue()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(hashlib.sha256(content).digest() + content)
