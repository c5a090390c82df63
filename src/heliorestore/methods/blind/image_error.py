"""The standard error of a restored image: what the burst, its noise and its air leave uncertain.

Four errors add up in quadrature:

* *carried* from the frames by the solution for the objects: their residuals with random signs (the wild
  bootstrap; they hold the noise of photons and detector, the error of the flux and what the model leaves
  out), wavefronts drawn from their posterior, and what the surroundings could be.
* *moved*: the tilts of a few frames do not average to zero from place to place, and distort the image.
* *contrast*: an error of the turbulence's strength changes the mean transfer function of the whole field.
* *damped*: the penalty takes contrast from what the burst hardly shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from heliorestore.methods.blind.air import Air, Nodes
from heliorestore.methods.blind.forward import Flow, Transfers
from heliorestore.methods.blind.noise_model import BINS, radial_power
from heliorestore.methods.blind.object_solver import Knobs, change_of_objects, passed
from heliorestore.methods.blind.refinement import FlowProblem, FlowState
from heliorestore.optics.filters import filter_grid, filtered, frequency
from heliorestore.optics.pupil import cutoff, sampling

_DRAWS, _STEPS = 2, 2  # bursts that could have been, and steps of conjugate gradients for each
_SEED = 0
# Relative error of (D/r0)^(5/3), as if r0 were wrong by 13 %: with it 68 % of the errors of the bursts to
# tune on (benchmarks/burst_set.py) are inside sigma.
_STRENGTH = 0.22
_LEAST_PASSED = 0.3  # contrast is not restored further than this: what is fainter nobody knows
_CARRIED, _SMOOTH = 2.0, 1.0  # widths over which variances are averaged, in resolution elements


@dataclass(frozen=True, eq=False)
class ImageError:
    """Variances (object, y, x) of filtered images by their cause."""

    carried: torch.Tensor
    moved: torch.Tensor
    contrast: torch.Tensor
    damped: torch.Tensor

    @property
    def sigma(self) -> torch.Tensor:
        """The standard error (object, y, x)."""
        return (self.carried + self.moved + self.contrast + self.damped).sqrt()


def image_error(problem: FlowProblem, state: FlowState, transfers: Transfers, knobs: Knobs) -> ImageError:
    """The error of the images of a state; `transfers` is the model with its modes. The same state gives the
    same draws.
    """
    flow = transfers.flow
    inner = (slice(None), *flow.inner)
    with torch.no_grad():
        sharp = flow.sharp(state.objects, knobs)
        generator = torch.Generator().manual_seed(_SEED)
        changes = [
            change_of_objects(
                transfers,
                state.objects,
                _pulled(problem, state, transfers, sharp, generator),
                knobs,
                _STEPS,
            )[inner]
            for _ in range(_DRAWS)
        ]
        carried = torch.stack(changes).square().mean(0)
        share = passed(transfers, knobs)
        lost = (1 - share) / share.clamp(min=_LEAST_PASSED) * _signal(sharp[inner], changes, flow)
        contrast, damped = (
            filtered(sharp, factor, "periodic")[inner].square()
            for factor in (_STRENGTH * _sensitivity(problem, state.air, flow), lost)
        )
        moved = _moved(problem, transfers.modes, sharp[inner])
        parts = [_smooth(part, flow, _SMOOTH) for part in (moved, contrast, damped)]
        return ImageError(_smooth(carried, flow, _CARRIED), *parts)


def _pulled(
    problem: FlowProblem,
    state: FlowState,
    transfers: Transfers,
    sharp: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """F^T e summed over the frames, of errors e that the frames of another burst of the same Sun could
    have.
    """
    flow, seen = transfers.flow, transfers.flow.observation
    # Of as many residuals as it has images the object takes one.
    lost = (seen.images / (seen.images - 1).clamp(min=1))[:, None]
    signs = (torch.randint(0, 2, (seen.frames,), generator=generator) * 2.0 - 1).to(sharp) * lost**0.5
    known, modes = flow.blurred(sharp), transfers.modes
    # Of one wavefront the image is not blurred by what is unknown of it.
    exact = flow.given(replace(flow.wavefronts, unknown=None)).blurred(sharp)
    around = flow.blurred(_other_surroundings(flow, sharp, generator))
    if problem.posterior is not None:
        modes = modes + drawn_modes(problem.nodes, state.air, tuple(modes.shape), generator).to(modes)
    total = torch.zeros_like(sharp)
    for part, model, transfer in transfers.parts():
        pixels = seen.read(part.frames, *part.pixels)
        shown = transfers.shown(part)
        images = model.apply(known[:, *part.seen], transfer, shown)
        errors = (images - pixels.images) * signs[:, part.frames, None, None]
        if problem.posterior is not None:
            errors += model(exact[:, *part.seen], modes[part.frames, :, *part.nodes], shown) - images
        errors += model.apply(around[:, *part.seen], transfer, shown)
        total[:, *part.seen] += model.adjoint(pixels.masked(errors), transfer, shown)
    return flow.blurred(total)


def _other_surroundings(flow: Flow, sharp: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """By how much the surroundings (object, y, x) could differ from those found: as much as another place of
    the image does, growing from nothing at the border.
    """
    rows, columns = sharp.shape[-2:]
    image = sharp[:, *flow.inner]
    tiles = [-(-n // m) for n, m in zip((rows, columns), image.shape[-2:], strict=True)]
    shifts = [int(torch.randint(0, n, (1,), generator=generator)) for n in image.shape[-2:]]
    other = image.roll(shifts, (-2, -1)).repeat(1, *tiles)[:, :rows, :columns]
    beyond = []
    for n, place in zip((rows, columns), flow.inner, strict=True):
        at = torch.arange(n, device=sharp.device)
        beyond.append(torch.maximum(place.start - at, at - place.stop + 1).clamp(min=0))
    far = torch.maximum(beyond[0][:, None], beyond[1][None, :]) / (flow.psf_size / 4)
    return (other - sharp) * far.clamp(max=1)


def drawn_modes(nodes: Nodes, air: Air, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Deviations (frame, mode, gy, gx) in radian of the modes from the fitted ones, from their posterior: of
    the variance that the air leaves unknown, and as alike from node to node as data and prior make them.
    """
    rows, columns = shape[2:]
    waves = torch.randn(shape, generator=generator, dtype=torch.float64)
    waves *= _wave_variances(nodes, air).sqrt().reshape(-1, rows, columns)
    modes = torch.einsum("fmij,iy,jx->fmyx", waves, _cosines(rows), _cosines(columns))
    return modes * air.sigmas.cpu().double()[:, None, None]


def _wave_variances(nodes: Nodes, air: Air) -> torch.Tensor:
    """Posterior variances (mode, wave) of whitened modes whose mean over the waves is `air.unknown`."""
    unknown = air.unknown.cpu().double().clamp(1e-6, 1 - 1e-6)
    believed = nodes.precision(air.couplings)
    low, high = torch.full_like(unknown, -15.0), torch.full_like(unknown, 25.0)
    for _ in range(50):  # halvings of an interval of the logarithm of the curvature
        middle = (low + high) / 2
        variances = 1 / (middle.exp()[:, None] * nodes.hats + believed)
        too_sure = variances.mean(1) < unknown
        low, high = torch.where(too_sure, low, middle), torch.where(too_sure, middle, high)
    return variances


def _cosines(n: int) -> torch.Tensor:
    """The waves (wave, node) on n nodes, orthonormal."""
    k, at = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64) + 0.5
    waves = torch.cos(math.pi * k * at / n) * math.sqrt(2 / n)
    waves[0] /= math.sqrt(2)
    return waves


def _signal(images: torch.Tensor, changes: list[torch.Tensor], flow: Flow) -> torch.Tensor:
    """The share (object, ky, kx) of the power of images (object, y, x) that is not that of their changes."""
    noise = radial_power(torch.stack(changes, dim=1))
    share = (1 - noise / radial_power(images[:, None]).clamp(min=1e-30)).clamp(0, 1)
    ring = (frequency(flow.object_shape, device=images.device) * 2 * BINS).long().clamp(max=BINS - 1)
    return share[:, ring]


def _sensitivity(problem: FlowProblem, air: Air, flow: Flow) -> torch.Tensor:
    """By which factor (object, ky, kx) the contrast changes with the logarithm of the turbulence's strength.

    With a share u of a mode's variance unknown, the fitted mode and what it leaves follow the prior by the
    share 1 - (1 - u)^2; what lies beyond the modes follows it wholly.
    """
    if problem.posterior is None:
        return torch.zeros_like(flow.halo)
    following = (1 - (1 - air.unknown.clamp(0, 1)).square()) * air.sigmas.square()
    blurred = flow.given(replace(flow.wavefronts, unknown=following)).halo
    return -blurred.clamp(min=torch.finfo(blurred.dtype).tiny).log()


def _moved(problem: FlowProblem, modes: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Variances (object, y, x) of images that are displaced from place to place by the mean tilt of modes
    (frame, mode, gy, gx) in radian; a displacement of the whole field is none.
    """
    flow, seen = problem.flow, problem.flow.observation
    tilts = modes[:, :2] - modes[:, :2].mean((2, 3), keepdim=True)
    pairs = (seen.images * (seen.images - 1)).clamp(min=1)[:, None, None]
    # (object, gy, gx): of each object the frames that show it
    at_nodes = torch.einsum("of,fmyx->oyx", seen.shown, tilts.square()) / 2 / pairs
    whole = [(n - 1) * flow.step + 1 for n in at_nodes.shape[1:]]
    fine = torch.nn.functional.interpolate(at_nodes[None], whole, mode="bilinear", align_corners=True)
    rows, columns = images.shape[-2:]
    steepness = torch.stack(torch.gradient(images, dim=(-2, -1))).square().sum(0)
    return fine[0, :, :rows, :columns] * _tilt_pixels(problem) ** 2 * steepness


def _tilt_pixels(problem: FlowProblem) -> float:
    """Pixels by which a tilt of 1 rad rms moves the image: radian per radius over pi D p / lambda."""
    along = problem.wavefronts.basis.sample(np.array([0.0, 0.0, 0.0]), np.array([-0.5, 0.0, 0.5]))[:2]
    slope = float(np.abs(along[:, 2] - along[:, 0]).max())
    return slope / (math.pi * sampling(problem.wavefronts.instruments[0]))


def _smooth(variances: torch.Tensor, flow: Flow, width: float) -> torch.Tensor:
    """Variances (object, y, x) averaged over so many resolution elements, with a Gaussian."""
    rows, columns = variances.shape[-2:]
    frequencies = frequency(filter_grid((rows, columns)), device=variances.device)
    sigma = width / max(cutoff(optics.instrument) for optics in flow.optics)
    return filtered(variances, torch.exp(-2 * (math.pi * sigma * frequencies).square())).clamp(min=0)
