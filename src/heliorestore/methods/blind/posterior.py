"""How well the data determine the modes: the curvature of the misfit around a fit, with the object
eliminated.

Gauss-Newton on patches in the middle of some frames: with S the transfer functions of a patch, N the noise, P
the object's power and O its Wiener estimate, a change dS of one frame changes the misfit by
sum |dS O|^2 (1 - |S|^2 / (sum |S|^2 + N/P)) / N.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from heliorestore.methods.blind.air import Air, Nodes
from heliorestore.methods.blind.noise_model import Noise
from heliorestore.methods.blind.patch_metric import object_power
from heliorestore.methods.blind.patches import Patches, make_patches
from heliorestore.methods.blind.wavefronts import Wavefronts, modes_at
from heliorestore.optics.psf import Optics, light, resample
from heliorestore.prepare.observe import Observation

_PLACES, _FRAMES = 9, 6  # at which it is looked at: what they say is averaged
_BORDER = 30  # px from the border to the middle of a patch


@dataclass(frozen=True, eq=False)
class Posterior:
    """Patches of an observation, of which those at `places` (number, y, x) are looked at in some frames;
    nodes stand every `step` pixels.
    """

    patches: Patches
    nodes: Nodes
    places: tuple[tuple[int, float, float], ...]
    frames: tuple[int, ...]
    step: int

    def left(self, radian: torch.Tensor, wavefronts: Wavefronts, air: Air, noise: Noise) -> torch.Tensor:
        """`Nodes.left` (3, mode) at modes (frame, mode, gy, gx) in radian, averaged over places and
        frames.
        """
        patches = replace(self.patches, wavefronts=wavefronts)
        at = modes_at(radian, self.step, [(y, x) for _, y, x in self.places])
        found = []
        for place, (number, _, _) in enumerate(self.places):
            for curvature in self._curvatures(patches, number, at[:, :, place], noise):
                values, vectors = torch.linalg.eigh(curvature.cpu().double())
                # Of modes that only other modes could tell apart, the data know less than a curvature says.
                alone = (vectors.square() @ (1 / (values.clamp(min=0) + 1))).clamp(1e-9, 1)
                found.append(self.nodes.left(1 / alone - 1, air.couplings))
        return torch.stack(found).mean(0)

    def _curvatures(
        self, patches: Patches, number: int, modes: torch.Tensor, noise: Noise
    ) -> Iterator[torch.Tensor]:
        """Curvatures (mode, mode) per node in whitened modes, one of each frame, of a patch with modes
        (frame, mode) in radian.
        """
        spectra = [own[0] for own in patches.images_of(patches.spectra(slice(number, number + 1)))]
        levels = noise.at(patches.frequencies) * patches.window.square().sum()
        objects = []
        shown = patches.observation.shown > 0
        for object_, optics in enumerate(patches.optics):
            own_frames = shown[object_]
            data, level, halo = spectra[object_], levels[object_], patches.remainder[object_]
            pupil_light, image_light = light(optics, modes)
            psfs = image_light.abs().square() + optics.far / optics.field**2
            transfer = _transfer(optics, psfs) * halo * own_frames[:, None, None]
            seen = transfer.abs().square().sum(0)
            whole = seen + level / object_power(patches, object_, data, seen, level)
            estimate = (transfer[own_frames].conj() * data).sum(0) / whole * halo
            # A node stands for as many pixels as there are around it.
            weight = patches.used[object_] * self.step**2 / patches.size**2 / level
            objects.append((own_frames, optics, pupil_light, image_light, transfer, whole, estimate, weight))
        for frame in self.frames:
            total = modes.new_zeros(modes.shape[1], modes.shape[1])
            for own_frames, optics, pupil_light, image_light, transfer, whole, estimate, weight in objects:
                if not own_frames[frame]:
                    continue
                own = (1 - transfer[frame].abs().square() / whole).clamp(min=0)
                shape = estimate * (weight * own).sqrt()
                changes = _changes(optics, patches.wavefronts.sigmas, pupil_light[frame], image_light[frame])
                parts = torch.view_as_real((_transfer(optics, changes) * shape).flatten(1)).flatten(1)
                total += parts @ parts.T
            yield total


def make_posterior(
    observation: Observation,
    wavefronts: Wavefronts,
    nodes: Nodes,
    *,
    step: int,
    patch: int,
    memory_bytes: float,
) -> Posterior:
    """Choose places inside the field and frames, evenly spread."""
    patches = make_patches(
        observation, wavefronts, patch=patch, step=max(1, patch // 2), memory_bytes=memory_bytes
    )
    rows, columns = patches.places
    every = [
        (number, row, column) for number, (row, column) in enumerate((r, c) for r in rows for c in columns)
    ]
    height, width = observation.shape
    inside = [
        place
        for place in every
        if _BORDER <= place[1] <= height - _BORDER and _BORDER <= place[2] <= width - _BORDER
    ] or [every[len(every) // 2]]
    places = [inside[number] for number in _spread(len(inside), _PLACES)]
    return Posterior(patches, nodes, tuple(places), _spread(observation.frames, _FRAMES), step)


def _spread(count: int, some: int) -> tuple[int, ...]:
    """At most `some` of the numbers below `count`, evenly spread."""
    return tuple(int(n) for n in np.unique(np.linspace(0, count - 1, min(count, some)).round()))


def _changes(
    optics: Optics, sigmas: torch.Tensor, pupil_light: torch.Tensor, image_light: torch.Tensor
) -> torch.Tensor:
    """By how much a sigma of each mode changes a PSF (mode, y, x), 2 Re(conj(w) F(i u phi))."""
    phases = (optics.modes[: len(sigmas)] * sigmas[:, None]).reshape(-1, optics.side, optics.side)
    moved = torch.fft.fft2(1j * pupil_light * phases, s=(optics.field, optics.field))
    changes: torch.Tensor = 2 * (image_light.real * moved.real + image_light.imag * moved.imag)
    return changes


def _transfer(optics: Optics, psfs: torch.Tensor) -> torch.Tensor:
    """Transfer functions (..., ky, kx) of light (..., m, m) on the field's own pixels."""
    seen = psfs if optics.field == optics.size else resample(psfs, optics.size)
    half = optics.size // 2
    transfer: torch.Tensor = torch.fft.rfft2(seen.roll((-half, -half), (-2, -1)))
    return transfer
