"""How strong the turbulence is, mode by mode, as the data say it: what a Gaussian posterior leaves unknown of
the modes, and what the fitted ones sum to.

Data hold a mode only as far as they are sensitive to it. With the curvature h of the misfit in a mode of
prior variance 1 the fitted mode has the mean square q G + S, of which q is the true variance, G what comes
through and S what the noise makes (without correlation from node to node G = (h/(1 + h))^2 and S = h/(1 +
h)^2), and V = 1/(1 + h) remains unknown. So q can be read off modes that are half known; and V blurs the
mean image by exp(-1/2 V D), D the mode's structure function, which makes the result independent of how many
modes are fitted.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch

from heliorestore.instrument import KnownInstrument
from heliorestore.methods.blind.wavefronts import Wavefronts

# 1 - the correlation of whitened modes at nodes 1.9 arcsec apart, per radial order: of a layer a few km up,
# as measured on simulated wavefronts (0.03 for tilts, 0.35 for the hundredth mode).
_DECORRELATION, _APART_ARCSEC, _GROWTH = 0.03, 1.9, 1.2
_MOST_DECORRELATION = 0.9
_FREE = 36  # adaptive optics do not reach the modes from here on: their strength is r0's
_WITNESSES = 65  # up to here: finer ones fill with what the model leaves out
_USUAL_R0_CM = 8.0  # at 500 nm
_EXPECTED_SPREAD = 0.5  # of ln q where nothing is known: a factor 1.35 of r0
_DOUBT = 0.2  # of S, the square that noise alone gives a mode
_LEAST, _LARGEST = 0.3, 30.0  # of q at once


@dataclass(frozen=True, eq=False)
class Air:
    """What is believed of the modes: standard deviations `sigmas` (mode) in radian before the data, the share
    `unknown` (mode) of their squares that the data leave, and the strength D/r0 of what lies beyond.

    `couplings` (mode) say how alike neighbouring nodes are, see `Nodes`.
    """

    sigmas: torch.Tensor
    unknown: torch.Tensor
    d_over_r0: float
    couplings: torch.Tensor

    def applied(self, wavefronts: Wavefronts) -> Wavefronts:
        """The wavefronts in this air."""
        return replace(
            wavefronts,
            sigmas=self.sigmas,
            d_over_r0=self.d_over_r0,
            unknown=self.unknown * self.sigmas.square(),
        )


@dataclass(frozen=True, eq=False)
class Nodes:
    """The waves on a grid of nodes, as cosines: eigenvalues (wave) of the squared differences of neighbours,
    and how strongly the hat function of a node answers to each.

    A prior s (|a|^2 + c |difference|^2) with s = mean over the waves of 1/(1 + c laplacian) gives every node
    the variance 1.
    """

    laplacian: torch.Tensor
    hats: torch.Tensor

    @classmethod
    def of(cls, grid: tuple[int, int]) -> Nodes:
        rows, columns = (torch.cos(torch.pi * torch.arange(n, dtype=torch.float64) / n) for n in grid)
        y, x = rows[:, None], columns[None, :]
        return cls((4 - 2 * y - 2 * x).flatten(), ((2 + y) * (2 + x) / 9).flatten())

    def weights(self, couplings: torch.Tensor) -> torch.Tensor:
        """The s (mode) of priors with these c (mode)."""
        return (1 / (1 + couplings[:, None] * self.laplacian)).mean(1)

    def precision(self, couplings: torch.Tensor) -> torch.Tensor:
        """The inverse variances (mode, wave) of priors with these c (mode)."""
        return self.weights(couplings)[:, None] * (1 + couplings[:, None] * self.laplacian)

    def couplings(self, differences: torch.Tensor) -> torch.Tensor:
        """The c (mode) with which neighbouring nodes differ by these mean squares (mode)."""
        low, high = torch.full_like(differences, -6.0), torch.full_like(differences, 12.0)
        for _ in range(40):  # halvings of an interval of ln c
            middle = (low + high) / 2
            # The laplacian sums over both directions.
            too_loose = (self.laplacian / self.precision(middle.exp())).mean(1) > 2 * differences
            low, high = torch.where(too_loose, middle, low), torch.where(too_loose, high, middle)
        return ((low + high) / 2).exp()

    def left(self, curvature: torch.Tensor, couplings: torch.Tensor) -> torch.Tensor:
        """V, G and S (3, mode) of data of this curvature (mode) at a node, in units of the prior's
        variance.
        """
        seen = curvature[:, None] * self.hats
        believed = self.precision(couplings)
        whole = seen + believed
        parts = (1 / whole, (seen / whole).square() / believed, seen / whole.square())
        return torch.stack([part.mean(1) for part in parts])


def first_air(wavefronts: Wavefronts, nodes: Nodes, step_arcsec: float, known: int) -> Air:
    """What is believed in the beginning, with the first modes known and nothing known of the others."""
    differences = torch.empty(wavefronts.count, dtype=torch.float64)
    for number, order in enumerate(orders(wavefronts.count), start=1):
        apart = (step_arcsec / _APART_ARCSEC) ** _GROWTH
        differences[order] = 2 * min(_MOST_DECORRELATION, _DECORRELATION * number * apart)
    unknown = torch.zeros_like(wavefronts.sigmas)
    unknown[known:] = 0.99
    return Air(wavefronts.sigmas, unknown, wavefronts.d_over_r0, nodes.couplings(differences))


@dataclass(frozen=True)
class Expected:
    """The D/r0 to be expected, and by how much ln q may differ from what it says: 0 where r0 is known.

    Where nothing `corrected` the turbulence all modes have r0's strength.
    """

    d_over_r0: float
    spread: float
    corrected: bool = True


def expected_air(
    wavefronts: Wavefronts, known_r0_cm: float | None = None, corrected: bool = True
) -> Expected:
    """What is known of r0 before the data; without a measured one, that of a good day at the wavelength of
    the first object.
    """
    first = wavefronts.instruments[0]
    r0_cm = known_r0_cm or usual_r0_cm(first)
    return Expected(100 * first.diameter_m / r0_cm, 0.0 if known_r0_cm else _EXPECTED_SPREAD, corrected)


def usual_r0_cm(instrument: KnownInstrument) -> float:
    """Fried's parameter of a good day at the wavelength of an instrument."""
    return float(_USUAL_R0_CM * (instrument.wavelength_nm / 500) ** 1.2)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What the first `count` modes of a fit come to: mean squares (mode) of the whitened modes over so many
    frames, and `Nodes.left` (3, mode). While they are `growing` they can only say that r0 is smaller than
    believed.
    """

    squares: torch.Tensor
    left: torch.Tensor
    frames: int
    count: int
    growing: bool = False


def strengthened(air: Air, fitted: Fitted, expected: Expected, *, most: float) -> Air:
    """The air whose turbulence is as strong as the fitted modes say.

    The standard deviation goes with the root of q, by at most a factor `most`. Modes of one radial order
    share their strength where adaptive optics may have corrected them. What they do not reach has r0's, which
    is drawn to the expected one as far as the data say little, and is taken at once where it is known.
    Without adaptive optics that is all modes, of which the strong ones tell it: fine modes fill with what the
    model leaves out.
    """
    count = len(air.sigmas)
    squares, ratio = fitted.squares.cpu().double(), torch.ones(count, dtype=torch.float64)
    corrected = [order for order in orders(count) if expected.corrected and 2 <= order.start < _FREE]
    groups = [slice(order.start, min(order.stop, _FREE)) for order in corrected]
    free, witnesses = (_FREE, _WITNESSES) if expected.corrected else (2, _FREE)
    if count > free:
        groups.append(slice(free, count))
    for group in groups:
        some = slice(group.start, max(group.start + 1, min(group.stop, fitted.count, witnesses)))
        strength, known = _strength(squares[some], fitted.left[:, some], fitted.frames)
        drawn, spread = 0.0, _EXPECTED_SPREAD
        if group is groups[-1]:
            drawn, spread = 5 / 3 * math.log(expected.d_over_r0 / air.d_over_r0), expected.spread
            if fitted.growing and spread:
                strength, drawn = max(strength, 1.0), 0.0
        worth = known * spread**2
        change = (worth * math.log(strength) + drawn) / (worth + 1)
        ratio[group] = min(max(math.exp(change / 2), 1 / most), most)
    # In a new prior the data leave as much as their curvature says.
    unknown = air.unknown.cpu().double().clamp(1e-6, 1)
    unknown = 1 / ((1 / unknown - 1) * ratio**2 + 1)
    return replace(
        air,
        sigmas=air.sigmas * ratio.to(air.sigmas),
        unknown=unknown.to(air.unknown),
        d_over_r0=air.d_over_r0 * float(ratio[-1]) ** (6 / 5),
    )


def response(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """The factor by which fitted modes (mode), in radian, follow a prior in which the data leave `after` of
    their variance instead of `before`.

    Between 0 and what the data say they stand at 1 - V, were the nodes independent; what is wrong with that
    the fit mends. To move them with their prior, instead of waiting until the fit does, is what lets r0
    converge in tens of iterations (parameter-expanded EM; Liu, Rubin & Wu 1998).
    """
    now, then = ((1 - left).clamp(min=1e-3) for left in (after, before))
    return (now / then).clamp(0.5, 2)


def _strength(squares: torch.Tensor, left: torch.Tensor, frames: int) -> tuple[float, float]:
    """The q of modes with these squares (mode), E[m^2] = q G + S, each weighted by how much it scatters; and
    how well ln q is known, as an inverse variance.
    """
    _, through, noise = left
    q = 1.0
    for _ in range(30):
        weights = through / (q * through + noise).square()
        found = float((weights * (squares - noise)).sum() / (weights * through).sum())
        q = min(max(found, _LEAST), _LARGEST)
    # as it would be if the belief were right: a q that noise made large would vouch for itself
    weights = through / (through + noise).square()
    drawn = 2 / (frames * float((weights * through).sum()))
    believed = _DOUBT * float((weights * noise).sum() / (weights * through).sum())
    return q, 1 / (drawn + believed**2)


def orders(count: int) -> list[slice]:
    """Modes of one radial order each, the two tilts first."""
    edges, size = [0, min(2, count)], 3
    while edges[-1] < count:
        edges.append(min(count, edges[-1] + size))
        size += 1
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
