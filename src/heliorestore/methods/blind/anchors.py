"""The wide band restored from the frames of each object alone: what their air and fit made of one and the
same Sun.

Objects that share the frames with the wide band, as modulation states and tunings do in turns, differ by what
the fit left of their own frames' air: displacements, contrast. The wide band has the same errors in these
frames, and nothing else that differs: where its restorations disagree, the states do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from heliorestore.burst import Burst
from heliorestore.coordinates import anchor_of
from heliorestore.methods.blind.forward import Flow
from heliorestore.methods.blind.object_solver import Knobs, solve_objects
from heliorestore.methods.blind.patch_fit import PatchProblem, PatchState
from heliorestore.methods.blind.patch_metric import spread
from heliorestore.methods.blind.patches import blend
from heliorestore.prepare.observe import Observation
from heliorestore.prepare.sources import Pixels, Source

ANCHOR = "anchor"
"""The name of the map (object, y, x)."""

_STEPS = 8  # of conjugate gradients, from the wide band restored from all frames


@dataclass(frozen=True, eq=False)
class _Repeated:
    """The images of one object, as if they were those of several that share its frames as `shown` (object,
    frame) says.
    """

    source: Source
    number: int
    shown: torch.Tensor

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.shown), *self.source.shape[1:]

    def read(self, frames: slice, rows: slice, columns: slice) -> Pixels:
        """A part of the frames on the device."""
        pixels = self.source.read(frames, rows, columns)
        images = pixels.images[self.number].expand(len(self.shown), -1, -1, -1)
        good = self.shown[:, frames, None, None].expand_as(images) > 0
        return Pixels(images, good if pixels.good is None else good & pixels.good[self.number])


def wide_band_of(burst: Burst) -> int | None:
    """The number of the object that is beside all others: the wide band, or the first with an image in every
    frame; None where no image is missing.
    """
    if burst.present is None:
        return None
    known, whole = anchor_of(burst.coordinates), np.flatnonzero(burst.present.all(1))
    if known is not None and known in whole:
        return known
    return int(whole[0]) if len(whole) else None


def _among(observation: Observation, wide: int) -> Observation:
    """The observation in which every object is the wide band, seen in its own frames alone."""
    objects, shown = observation.objects, observation.shown
    mean = observation.mean[wide].expand(objects, -1, -1)
    return replace(
        observation,
        source=_Repeated(observation.source, wide, shown),
        mean=mean,
        counts=observation.images[:, None, None].expand_as(mean).to(torch.int16),
        sigmas=observation.sigmas[wide].expand(objects),
        scales=observation.scales[wide].expand(objects),
    )


def on_field(flow: Flow, modes: torch.Tensor, objects: torch.Tensor, knobs: Knobs, wide: int) -> torch.Tensor:
    """The anchors (object, y, x) in units of the wide band's mean, by the model with the wavefronts of all
    frames.
    """
    count = len(objects)
    wavefronts = replace(
        flow.wavefronts,
        instruments=(flow.wavefronts.instruments[wide],) * count,
        defocus_waves=(flow.wavefronts.defocus_waves[wide],) * count,
    )
    # Modes are in radian at the first object's wavelength: its optics stay where the wide band is the first.
    among = replace(flow, observation=_among(flow.observation, wide), wavefronts=wavefronts)
    begin = objects[wide].expand_as(objects).contiguous()
    found = solve_objects(among.transfers(modes), begin, knobs, _STEPS)
    return among.sharp(found, knobs)[(slice(None), *among.inner)]


def on_patches(
    problem: PatchProblem, state: PatchState, wide: int, width: float, smoothness: float
) -> torch.Tensor:
    """The anchors (object, y, x) in units of the wide band's mean, by Wiener's filter on patches."""
    patches, observation = problem.patches, problem.patches.observation
    shown = observation.shown
    levels = state.levels
    noise, power = (spread(level, patches.bins)[wide] for level in (levels.noise, levels.object_power))
    restored = []
    with torch.no_grad():
        for number, some in enumerate(patches.batches()):
            # (patch, frame, ky, kx), for the wide band has an image in every frame
            transfer = patches.images_of(patches.transfer(state.modes[some]))[wide]
            product = transfer.conj() * patches.images_of(problem.spectra_of(number, some))[wide]
            seen = torch.einsum("of,pfyx->poyx", shown, transfer.abs().square()) + noise / power
            restored.append(torch.einsum("of,pfyx->poyx", shown.to(product.dtype), product) / seen)
    means = torch.zeros_like(observation.mean)
    for frame in range(observation.frames):  # all of them may not fit into the memory
        means += shown[:, frame, None, None] * observation.read(slice(frame, frame + 1)).images[wide]
    means /= observation.images[:, None, None]
    among = replace(patches, observation=replace(observation, mean=means))
    filters = patches.filters(width, smoothness)[wide]
    return blend(among, (image for some in restored for image in patches.images(some, filters)))
