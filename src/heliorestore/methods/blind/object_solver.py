"""The objects that belong to given modes.

With the modes known the loss of eq. 17 of Asensio Ramos (2024) is quadratic in the objects: conjugate
gradients solve it, preconditioned by what a Fourier filter can invert.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from heliorestore.methods.blind.forward import Images, Transfers
from heliorestore.optics.filters import filtered, frequency
from heliorestore.optics.penalties import Kind, Operator, penalty
from heliorestore.optics.psf import Optics, otf, psf

_SAMPLES = 48  # PSFs from which the mean power of all is estimated
_LEAST = 1e-6  # of the power at frequency 0: what is inverted is no smaller


@dataclass(frozen=True, kw_only=True, eq=False)
class Knobs:
    """What may turn while the solver runs: weights of eq. 17 and the filter of eq. 16; `weights` (object) are
    gamma. With `at_once` the loss is that of eq. 17 itself, see `JointLoss`.

    Settings make it (`SvMomfbdSettings.knobs`), and they alone know what is usual.
    """

    weights: torch.Tensor
    lambda_object: float
    filter_width: float
    filter_smoothness: float
    regulariser: Kind
    positive: bool
    lambda_modes: float
    prior: float
    rate_modes: float
    rate_objects: float
    at_once: bool

    @property
    def of_objects(self) -> tuple[float, ...]:
        """Those that change the objects alone."""
        return self.lambda_object, self.filter_width, self.filter_smoothness

    @property
    def coupling(self) -> float:
        """lambda_modes as a weight of the squared differences of whitened modes: 1 where it has its usual
        value.
        """
        return self.lambda_modes / 0.01


def solve_objects(transfers: Transfers, objects: torch.Tensor, knobs: Knobs, iterations: int) -> torch.Tensor:
    """Objects that minimise eq. 17 for the given modes, by conjugate gradients from `objects`; they come back
    unfiltered.

    (H F^T F H + lambda B^T w B) o = H F^T d, with the data's mean over pixels and the sum over frames. With
    the modes known nothing couples the objects: each has steps of its own, and their weights cancel. Where
    all are one, the sum is over them too, with equal weights.
    """
    return objects_and_rest(transfers, objects, knobs, iterations)[0]


def objects_and_rest(
    transfers: Transfers, objects: torch.Tensor, knobs: Knobs, iterations: int
) -> tuple[torch.Tensor, Images | None]:
    """`solve_objects`, and the residuals that its objects leave, where a single step knows them and there is
    room.
    """
    with torch.no_grad():
        equations = _equations(transfers, objects, knobs)
        sharp = transfers.flow.sharp(objects, knobs)
        left: Images | None = {} if iterations == 1 and transfers.flow.layout.all_kept else None
        missing = transfers.back(sharp, equations.gamma, left)
        residual = -equations.regularised(objects, sharp, -missing)
        return _solved(equations, objects, residual, iterations, left), left


def change_of_objects(
    transfers: Transfers, objects: torch.Tensor, pulled: torch.Tensor, knobs: Knobs, iterations: int
) -> torch.Tensor:
    """By how much errors e of the frames change the solution, from `pulled` (object, y, x), F^T e summed over
    the frames; filtered as images are.
    """
    with torch.no_grad():
        equations = _equations(transfers, objects, knobs)
        residual = transfers.flow.sharp(pulled * equations.gamma[..., 0], knobs)
        change = _solved(equations, torch.zeros_like(objects), residual, iterations)
        return transfers.flow.sharp(change, knobs)


@dataclass(frozen=True, eq=False)
class _Equations:
    """The linear equations of `solve_objects`; `gamma` (object, 1, 1, 1) is 1 / pixels, `half_gradient` that
    of the penalty.
    """

    transfers: Transfers
    knobs: Knobs
    gamma: torch.Tensor
    half_gradient: Operator

    def regularised(self, x: torch.Tensor, sharp: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
        """The left side for x, which is `sharp` after the filter and gives `data` = F^T F H x."""
        weight = self.knobs.lambda_object
        # What the filter takes away nothing else would hold: it weighs as much as the penalty of the sharpest
        # structure.
        lost = (x - sharp) * self.gamma[..., 0]
        held = self.half_gradient(sharp) - lost
        return self.transfers.flow.sharp(data + weight * held, self.knobs) + weight * lost

    def curvature(self, x: torch.Tensor, made: Images | None) -> torch.Tensor:
        """The product (object, 1, 1) of x with the left side for it; `made` is filled with F H x."""
        sharp, weight = self.transfers.flow.sharp(x, self.knobs), self.knobs.lambda_object
        lost = (x - sharp) * self.gamma[..., 0]
        held = _dot(sharp, self.half_gradient(sharp) - lost) + _dot(x, lost)
        return self.transfers.energy(sharp, self.gamma, made) + weight * held


def _equations(transfers: Transfers, objects: torch.Tensor, knobs: Knobs) -> _Equations:
    """The equations with a penalty that is linear around these objects."""
    flow = transfers.flow
    pixels = flow.observation.shape[0] * flow.observation.shape[1]
    gamma = torch.full((len(objects), 1, 1, 1), 1 / pixels, device=objects.device)
    _, half_gradient = penalty(flow.sharp(objects, knobs), knobs.regulariser, pixels, positive=knobs.positive)
    return _Equations(transfers, knobs, gamma, half_gradient)


def _solved(
    equations: _Equations,
    objects: torch.Tensor,
    residual: torch.Tensor,
    iterations: int,
    left: Images | None = None,
) -> torch.Tensor:
    """Objects after steps of conjugate gradients from those that leave this residual of the equations.

    `left`, what they leave of the data before a single step, becomes what they leave after it.
    """
    transfers, knobs = equations.transfers, equations.knobs
    inverse = preconditioner(transfers, knobs)
    prepared = filtered(residual, inverse, "periodic")
    direction, product = prepared, _dot(residual, prepared)
    tiny = torch.finfo(product.dtype).tiny  # an object that is solved for exactly has nothing left to divide
    for further in reversed(range(iterations)):
        if not further:  # nobody asks where the last one leads
            made: Images | None = None if left is None else {}
            size = product / equations.curvature(direction, made).clamp(min=tiny)
            for number, images in (made or {}).items():
                assert left is not None
                left[number].add_(images.mul_(size[..., None]))
            return objects + size * direction
        sharp = transfers.flow.sharp(direction, knobs)
        image = equations.regularised(direction, sharp, transfers.normal(sharp, equations.gamma))
        size = product / _dot(direction, image).clamp(min=tiny)
        objects = objects + size * direction
        residual = residual - size * image
        prepared = filtered(residual, inverse, "periodic")
        following = _dot(residual, prepared)
        direction = prepared + following / product.clamp(min=tiny) * direction
        product = following
    return objects


def preconditioner(transfers: Transfers, knobs: Knobs) -> torch.Tensor:
    """Approximate inverse (object, ky, kx) of the operator of `solve_objects`: exact if all PSFs were equal
    and the field infinite.
    """
    flow = transfers.flow
    transfer_filter = flow.filters(knobs)
    seen, steep = _seen_and_steep(transfers)
    held = knobs.lambda_object * (transfer_filter**2 * steep + (1 - transfer_filter) ** 2)
    images = flow.observation.images[:, None, None]
    whole = images * transfer_filter**2 * seen + held
    pixels = flow.observation.shape[0] * flow.observation.shape[1]
    inverse: torch.Tensor = pixels / torch.maximum(whole, _LEAST * images)
    return inverse


def passed(transfers: Transfers, knobs: Knobs) -> torch.Tensor:
    """The share (object, ky, kx) of its contrast that the penalty leaves to an object, as `preconditioner`
    has it.
    """
    seen, steep = _seen_and_steep(transfers)
    data = transfers.flow.observation.images[:, None, None] * seen
    share: torch.Tensor = data / (data + knobs.lambda_object * steep).clamp(min=torch.finfo(data.dtype).tiny)
    return share


def _seen_and_steep(transfers: Transfers) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of |transfer function|^2 over frames and field (object, ky, kx), of all objects where they are
    one, and Sobel's gradient squared (ky, kx).
    """
    flow = transfers.flow
    rows, columns = flow.object_shape
    device = transfers.modes.device
    ky, kx = (
        2 * math.pi * f
        for f in (torch.fft.fftfreq(rows, device=device)[:, None], torch.fft.rfftfreq(columns, device=device))
    )
    # Sobel's derivative along an axis is sin k along it and (1 + cos k) / 2 across.
    steep = (kx.sin() * (1 + ky.cos()) / 2) ** 2 + (ky.sin() * (1 + kx.cos()) / 2) ** 2
    seen = (
        torch.stack([mean_power(optics, transfers.modes, flow.object_shape) for optics in flow.optics])
        * flow.halo**2
    )
    return flow.shared(seen), steep


def mean_power(optics: Optics, modes: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Mean of |transfer function|^2 over directions and modes (frame, mode, gy, gx) in radian, at the
    frequencies of an FFT of `shape`.
    """
    places = modes.permute(0, 2, 3, 1).flatten(0, 2)
    spectra = otf(psf(optics, places[:: max(1, len(places) // _SAMPLES)]))
    n = optics.size
    ring = (frequency((n, n), device=modes.device) * n).round().long()
    power = (spectra.real**2 + spectra.imag**2).mean(0)
    sums, counts = (
        torch.zeros(n, device=modes.device).index_add(0, ring.flatten(), part.flatten())
        for part in (power, torch.ones_like(power))
    )
    at = (frequency(shape, device=modes.device) * n).clamp(max=n - 2)
    below, profile = at.long(), sums / counts.clamp(min=1)
    between = at - below
    return profile[below] * (1 - between) + profile[below + 1] * between


def _dot(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Scalar products (object, 1, 1) of images (object, y, x)."""
    return (one * other).sum((-2, -1), keepdim=True)
