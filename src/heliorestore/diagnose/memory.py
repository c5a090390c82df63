"""The memory that a blind deconvolution will need, estimated before it runs, and whether it keeps within its
limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from heliorestore.burst import Burst
from heliorestore.errors import SettingsError
from heliorestore.methods.blind.field_plan import plan_field
from heliorestore.methods.momfbd import MomfbdSettings, plan_memory
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.settings import Settings

# The estimate over the limit up to which a run is begun.
_OVER = 1.05


@dataclass(frozen=True)
class _Taken:
    """Bytes that a method without a limit takes at its peak, as measured on fields of 512 to 2048 pixels
    (benchmarks/memory.py): once, per pixel of the field, or of the tile that its network sees, of every frame
    and of every object.
    """

    once: float = 0.0
    of_field: float = 0.0
    of_frame: float = 0.0
    of_object: float = 0.0


_OTHERS = {
    # frames as they are, as the network wants them, and mirrored; beside them its channels
    "mfbd": _Taken(of_field=550.0, of_frame=17.0),
    "pca": _Taken(of_frame=40.0),  # spectra in double precision
    "richardson-lucy": _Taken(of_object=120.0),  # transforms of the field with its margins
    "enhance": _Taken(once=0.28e9, of_field=90.0, of_frame=5.0),  # channels of a tile
    "denoise": _Taken(once=0.12e9, of_field=75.0, of_frame=5.0),
}


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes at the peak beyond the idle program, whether frames are held, and the field's tiles (y, x)."""

    peak_bytes: float
    frames_held: bool
    tiles: tuple[int, int]


def memory_estimate(
    burst_shape: tuple[int, int, int, int],
    settings: Settings,
    device: torch.device | str = "cpu",
    *,
    optics: int | None = None,
) -> int:
    """Bytes that a run needs at its peak beyond the idle program; 0 where that is not known."""
    need = memory_need(burst_shape, settings, device, optics=optics)
    return 0 if need is None else round(need.peak_bytes)


def memory_need(
    burst_shape: tuple[int, int, int, int],
    settings: Settings,
    device: torch.device | str = "cpu",
    *,
    optics: int | None = None,
) -> MemoryNeed | None:
    """The memory for a run on frames (object, frame, y, x); None for methods of which it is not known.

    `optics` is the number of different instruments among the objects; without it all are assumed to differ.
    """
    place, kinds = torch.device(device), optics or burst_shape[0]
    if isinstance(settings, MomfbdSettings):
        shares, peak = plan_memory(burst_shape, settings, place, kinds)
        return MemoryNeed(peak, shares.held > 0, (1, 1))
    if isinstance(settings, SvMomfbdSettings):
        plan = plan_field(burst_shape, settings, place)
        return MemoryNeed(plan.peak_bytes(kinds), plan.shares.held > 0, plan.layout(kinds).tiles)
    if settings.method in _OTHERS:
        taken, zoom = _OTHERS[settings.method], getattr(settings, "upsampling", 1)
        objects, frames, rows, columns = burst_shape
        side = getattr(settings, "tile", math.inf)
        need = taken.once + taken.of_field * min(rows, side) * min(columns, side)
        need += (taken.of_frame * frames + taken.of_object * zoom**2) * objects * rows * columns
        return MemoryNeed(need, True, (1, 1))
    return None


def least_gb(
    burst_shape: tuple[int, int, int, int],
    settings: Settings,
    device: torch.device | str = "cpu",
    *,
    optics: int | None = None,
) -> float | None:
    """The limit `memory_gb` of these settings, or the next one above it that a run can keep; None without."""
    limit: float | None = getattr(settings, "memory_gb", None)
    if limit is None:
        return None
    # The more may be used, the more is: the need grows with the limit, but less.
    while (need := memory_estimate(burst_shape, settings, device, optics=optics) / 1e9) > _OVER * limit:
        limit = 1.001 * need / _OVER
        settings = settings.replace(memory_gb=limit)
    return limit


def check_limit(burst: Burst, settings: Settings, device: torch.device) -> None:
    """Refuse a limit of the memory that no division of the work can keep."""
    limit = getattr(settings, "memory_gb", None)
    least = least_gb(burst.shape, settings, device, optics=len(set(burst.instruments)))
    if limit is not None and least is not None and least > limit:
        raise SettingsError(
            f"A burst of {burst.shape} (object, frame, y, x) needs {math.ceil(10 * least) / 10:.1f} GB in "
            f"{settings.method}, more than memory_gb, which is {limit:g}: allow that much, or choose fewer "
            "objects or a part of the field."
        )
