"""The memory that a blind deconvolution will need, estimated before it runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from heliorestore.budget import budget_bytes, share
from heliorestore.methods.blind.emulated import emulator_layout, emulator_working_bytes, size_of
from heliorestore.methods.blind.parts import make_layout, working_bytes
from heliorestore.methods.blind.patch_fit import patch_bytes
from heliorestore.methods.blind.refinement import flow_state_bytes
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.nets import weights
from heliorestore.settings import Settings

_LIBRARIES = 0.06e9  # memory that they take when first used
_SNAPSHOT_ARRAYS = 4  # images, their maps and copies of both, of the size of the objects


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes at the peak beyond the program at its start, whether frames are held in memory, and the tiles (y,
    x) of the field.
    """

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
    """Bytes that a run needs at its peak beyond the program itself; 0 for methods that work on small
    pieces.
    """
    need = memory_need(burst_shape, settings, device, optics=optics)
    return 0 if need is None else round(need.peak_bytes)


def memory_need(
    burst_shape: tuple[int, int, int, int],
    settings: Settings,
    device: torch.device | str = "cpu",
    *,
    optics: int | None = None,
) -> MemoryNeed | None:
    """The memory for a run on frames (object, frame, y, x); None for methods that work on small pieces.

    `optics` is the number of different instruments among the objects; without it all are assumed to differ.
    """
    objects, _, rows, columns = burst_shape
    place = torch.device(device)
    shown = _LIBRARIES + 4.0 * _SNAPSHOT_ARRAYS * objects * rows * columns
    if isinstance(settings, MomfbdSettings):
        shares = share(budget_bytes(settings.memory_gb, place), burst_shape)
        work = patch_bytes(burst_shape, settings.patch, settings.patch_step, settings.modes, shares.work)
        return MemoryNeed(shares.held + work + shown, shares.held > 0, (1, 1))
    if isinstance(settings, SvMomfbdSettings):
        state = flow_state_bytes(burst_shape, settings.modes, settings.grid_step, settings.psf)
        shares = share(budget_bytes(settings.memory_gb, place), burst_shape, state)
        kinds = optics or objects
        width, of_network = _emulator(settings)
        plan = emulator_layout(width) if width else make_layout
        layout = plan(
            burst_shape,
            step=settings.grid_step,
            psf=settings.psf,
            optics=kinds,
            memory_bytes=shares.work,
            device=place,
        )
        work = (
            emulator_working_bytes(layout, objects, width) + of_network
            if width
            else working_bytes(layout, objects, kinds)
        )
        if settings.start == "patches" and not settings.at_once:
            # First the patches, then the field: the two are never in memory together.
            work = max(
                work,
                patch_bytes(burst_shape, settings.patch, settings.patch // 2, settings.modes, shares.work),
            )
        return MemoryNeed(shares.held + state + work + shown, shares.held > 0, layout.tiles)
    return None


def _emulator(settings: SvMomfbdSettings) -> tuple[int, float]:
    """Width of the network that blurs, and bytes of its weights; 0 with filter flow."""
    return (
        size_of(weights.read_record(weights.find(settings.emulator)).architecture)
        if settings.forward == "emulator"
        else (0, 0.0)
    )
