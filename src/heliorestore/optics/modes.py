"""Zernike and Karhunen-Loeve modes of a wavefront over the aperture, in Noll's order and normalisation.

A mode has unit rms over the open aperture. Zernikes: Noll (1976), doi:10.1364/JOSA.66.000207; the Kolmogorov
covariance of their coefficients: Noll (1976) and Roddier (1990), doi:10.1117/12.55712.

The Karhunen-Loeve modes diagonalise that covariance over the actual aperture, obscured or not. They are kept
as expansions in Zernikes, functions of the pupil that do not depend on any pixel grid: the same coefficients
give the same wavefront at every wavelength, sampling and size of the PSF grid.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from heliorestore.errors import SettingsError
from heliorestore.optics.pupil import Aperture, FloatArray

MOST_MODES = 500
Kind = Literal["kl", "kl-tilt", "zernike"]

# Phase structure function D(r) = 2 [24/5 Gamma(6/5)]^(5/6) (r/r0)^(5/3), that is 6.88 (r/r0)^(5/3).
_HALF_STRUCTURE: float = (24 / 5 * math.gamma(6 / 5)) ** (5 / 6)
# Noll's K without order and sign, 2.2460: with it the modes sum to the structure function. (Noll's rounded
# 0.023 gives 0.24 %
# less; the 2.2698 of Roddier 1990 has 2 pi^2 where the integral gives 2^(8/3) pi, and is 1.1 % more.)
_COVARIANCE: float = math.gamma(14 / 3) * _HALF_STRUCTURE * math.gamma(11 / 6) ** 2 / (2 ** (8 / 3) * math.pi)


@dataclass(frozen=True, eq=False)
class Basis:
    """Modes over an aperture: expansions (mode, Zernike) in Zernikes of Noll index 1, 2, ... and their
    statistics in turbulence.

    `variances` (mode) are those of Kolmogorov turbulence at D/r0 = 1, in rad^2: multiply by (D/r0)^(5/3).
    `tilts` (2, mode) are the coefficients of a wavefront of 1 rad rms that is nothing but a tilt along +y,
    +x.
    """

    kind: Kind
    aperture: Aperture
    expansion: FloatArray
    variances: FloatArray
    tilts: FloatArray

    @property
    def count(self) -> int:
        return int(self.expansion.shape[0])

    def sample(self, y: FloatArray, x: FloatArray) -> FloatArray:
        """Values (mode, *shape) at the points y, x in units of the radius.

        Partly open pixels reach beyond the edge. There a mode is continued as 2 f(1) - f(2 - r): the
        polynomials themselves would grow fast, and a tilt stays a tilt.
        """
        radius, angle = np.hypot(y, x).ravel(), np.arctan2(y, x).ravel()
        values = _evaluate(self.expansion, np.where(radius > 1, 2 - radius, radius), angle)
        beyond = radius > 1
        if beyond.any():
            edge = _evaluate(self.expansion, np.ones(int(beyond.sum())), angle[beyond])
            values[:, beyond] = 2 * edge - values[:, beyond]
        return values.reshape(self.count, *np.shape(y))


def noll(j: int) -> tuple[int, int]:
    """Radial order n and azimuthal order m of Noll's index j = 1, 2, ...; m > 0 cosine, m < 0 sine."""
    if j < 1:
        raise SettingsError(f"The Noll index is {j}; Zernikes are counted from 1, the piston.")
    n = (math.isqrt(8 * j - 7) - 1) // 2
    position = j - n * (n + 1) // 2  # 1 ... n + 1 within the radial order
    m = 2 * (position // 2) if n % 2 == 0 else 2 * ((position - 1) // 2) + 1
    return n, m if j % 2 == 0 else -m


def noll_residual(removed: int, *, radial_orders: int = 4000) -> float:
    """Variance of a wavefront without its first `removed` Zernikes, in rad^2 at D/r0 = 1."""
    if removed < 1:
        raise SettingsError(
            f"{removed} Zernikes are to be removed; at least the piston must be, its variance is infinite."
        )
    done, _ = noll(removed)
    # Zernikes of the last radial order that are left. Their variance depends on n alone, so any m of its
    # parity will do.
    in_order = (done + 1) * (done + 2) // 2 - removed
    left = in_order * _covariance(done, done, done % 2) if in_order else 0.0
    # A radial order n has n + 1 Zernikes, all of the same variance.
    return left + sum((n + 1) * _covariance(n, n, n % 2) for n in range(done + 1, radial_orders))


@functools.lru_cache(maxsize=16)
def make_basis(count: int, aperture: Aperture = Aperture(), kind: Kind = "kl") -> Basis:  # noqa: B008 - frozen
    """The first `count` modes without the piston, strongest first.

    "kl": every mode diagonalises the turbulence; modes 1 and 2 are tilts along x and y but for 3 % of coma.
    "kl-tilt": modes 1 and 2 are exact tilts and the others diagonalise what the tilts leave.
    "zernike": Noll 2, 3, ...; over an obscured aperture they are no longer orthogonal.

    The Kolmogorov covariance is taken to 2 n + 10 radial orders, n being that of the last mode, so that no
    variance is wrong by 0.1 % (1e-12 without obscuration; with Zernikes to order n alone the last of 44 modes
    is 58 % too weak). With a spider, whose modes mix all Zernikes, n + 12 orders leave 0.3 %.
    """
    if not 1 <= count <= MOST_MODES:
        raise SettingsError(f"{count} modes are asked for; possible are 1 to {MOST_MODES}.")
    if kind not in ("kl", "kl-tilt", "zernike"):
        raise SettingsError(f"The modes are {kind!r}; possible are 'kl', 'kl-tilt' and 'zernike'.")
    order, _ = noll(count + 1)
    highest = order + 12 if aperture.has_spider else 2 * order + 10
    orders = [noll(j) for j in range(1, (highest + 1) * (highest + 2) // 2 + 1)]
    blocks = [_block(members, orders, aperture, kind) for members in _independent(orders, aperture)]
    expansion, variances, tilts = (
        np.concatenate(part, axis) for part, axis in zip(zip(*blocks, strict=True), (0, 0, 1), strict=True)
    )
    if kind == "zernike":
        chosen = np.argsort(expansion.argmax(1), kind="stable")[:count]
    else:
        # Pairs of sine and cosine are equally strong: Noll's order of their main Zernike decides.
        main = np.abs(expansion[:, 1:]).argmax(1)
        # Rounded: numerical errors must not decide between equals.
        strength = np.array([float(f"{v:.9e}") for v in variances])
        chosen = np.lexsort((main, -strength))
        if kind == "kl-tilt":
            pure = np.count_nonzero(expansion[:, 1:], axis=1) == 1
            chosen = np.concatenate(
                [chosen[pure[chosen] & (main[chosen] < 2)], chosen[~(pure[chosen] & (main[chosen] < 2))]]
            )
        chosen = chosen[:count]
    # An eigenvector has no sign; the strongest Zernike of a mode is made positive.
    sign = np.sign(expansion[chosen, 1 + np.abs(expansion[chosen, 1:]).argmax(1)])
    return Basis(
        kind, aperture, expansion[chosen] * sign[:, None], variances[chosen], tilts[:, chosen] * sign
    )


def _independent(orders: list[tuple[int, int]], aperture: Aperture) -> list[list[int]]:
    """Groups of Zernikes (positions in `orders`) that turbulence and aperture mix among themselves."""
    if aperture.has_spider:
        return [list(range(1, len(orders)))]
    return [
        [i for i, (n, m) in enumerate(orders) if m == wanted and n > 0]
        for wanted in sorted({m for _, m in orders})
    ]


def _block(
    members: list[int], orders: list[tuple[int, int]], aperture: Aperture, kind: Kind
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Modes made of some Zernikes: expansions (mode, Zernike), variances (mode), and tilts (2, mode)."""
    # Covariances: without the piston, which changes no image.
    gram, means = _gram([orders[i] for i in members], aperture)
    covariance = np.zeros((len(members), len(members)))
    for m in {orders[i][1] for i in members}:
        index = np.array([k for k, i in enumerate(members) if orders[i][1] == m])
        covariance[np.ix_(index, index)] = _block_covariance(abs(m), [orders[members[k]][0] for k in index])
    tilts = np.zeros((2, len(members)))  # the tilts along y and x, of unit rms over the aperture
    for axis, m in enumerate((-1, 1)):
        for k, i in enumerate(members):
            if orders[i] == (1, m):
                tilts[axis, k] = 1 / math.sqrt(gram[k, k])
    if kind == "zernike":
        modes = np.eye(len(members))
        variances = np.diag(covariance).copy()
    else:
        projector = np.eye(len(members))
        pure = tilts[tilts.any(1)] if kind == "kl-tilt" else tilts[:0]
        if len(pure):
            # The tilts orthonormal over the aperture.
            pure = np.linalg.solve(np.linalg.cholesky(pure @ gram @ pure.T), pure)
            # Takes the tilts off every other function, orthogonally over the aperture.
            projector -= pure.T @ (pure @ gram)
        # f = P L u with K = L L^T: the eigenfunctions of P K P^T over the aperture, without inverting any
        # Gram matrix.
        root = projector @ np.linalg.cholesky(covariance)
        variances, vectors = np.linalg.eigh(root.T @ gram @ root)
        strong = variances > 1e-9 * variances[-1]  # a projected tilt has no variance left
        modes = (root @ vectors[:, strong] / np.sqrt(variances[strong])).T[::-1]
        variances = variances[strong][::-1]
        modes = np.concatenate([pure, modes])
        variances = np.concatenate(
            [np.einsum("ti,ij,tj->t", pure @ gram, covariance, pure @ gram), variances]
        )
    expansion = np.zeros((len(modes), len(orders)))
    expansion[:, members] = modes
    expansion[:, 0] = -modes @ means  # no piston over the open aperture
    return expansion, variances, tilts @ gram @ modes.T


def _gram(orders: list[tuple[int, int]], aperture: Aperture) -> tuple[FloatArray, FloatArray]:
    """Covariances and means of Zernikes on the open aperture, by Gauss-Legendre in r^2."""
    highest = max(n for n, _ in orders)
    nodes, weights = np.polynomial.legendre.leggauss(highest + 2)
    inner = aperture.obscuration**2
    radius = np.sqrt(inner + (1 - inner) * (nodes + 1) / 2)
    if not aperture.has_spider:
        m = abs(orders[0][1])
        values = _radial(m, [n for n, _ in orders], radius)
        # With r^2 as the variable, products of two polynomials of degree n have degree n: the quadrature is
        # exact.
        # Legendre's weights sum to 2.
        gram = (values * weights / 2) @ values.T * (0.5 if m else 1.0)  # the mean of cos^2 around a circle
        means = values @ weights / 2 if m == 0 else np.zeros(len(orders))
        return gram - np.outer(means, means), means
    angles: FloatArray = np.arange(8 * highest, dtype=np.float64) * (2 * math.pi / (8 * highest))
    open_ = _open_fraction(aperture, radius, angles) * (weights / 2)[:, None]
    points = (np.repeat(radius, angles.size), np.tile(angles, radius.size))
    expansion = np.zeros((len(orders), len(orders) + 1))
    expansion[:, 1:] = np.eye(len(orders))
    values = _evaluate(expansion, *points)
    share = open_.ravel() / open_.sum()
    means = values @ share
    return (values * share) @ values.T - np.outer(means, means), means


def _open_fraction(aperture: Aperture, radius: FloatArray, angles: FloatArray) -> FloatArray:
    """Fraction (radius, angle) of each arc between two angles that the vanes leave open."""
    open_ = np.ones((radius.size, angles.size))
    spacing = angles[1] - angles[0]
    # Seen from the centre, at a radius r a vane of width w covers asin(w / (D r)) on either side.
    half = np.arcsin(np.minimum(1, aperture.vane_width_m / aperture.diameter_m / radius))[:, None]
    for k in range(aperture.vanes):
        vane = math.radians(aperture.vane_angle_deg) + 2 * math.pi * k / aperture.vanes
        distance = np.abs((angles - vane + math.pi) % (2 * math.pi) - math.pi)[None, :]
        covered = np.clip(
            np.minimum(distance + spacing / 2, half) - np.maximum(distance - spacing / 2, -half), 0, spacing
        )
        open_ -= covered / spacing
    return np.clip(open_, 0, 1)


def _evaluate(expansion: FloatArray, radius: FloatArray, angle: FloatArray) -> FloatArray:
    """Sums (mode, point) of Zernikes 1, 2, ... weighted by `expansion` (mode, Zernike)."""
    orders = [noll(j) for j in range(1, expansion.shape[1] + 1)]
    values = np.zeros((expansion.shape[0], radius.size))
    for m in sorted({abs(m) for _, m in orders}):
        for signed in {m, -m}:
            members = [i for i, order in enumerate(orders) if order[1] == signed]
            rows = np.flatnonzero(expansion[:, members].any(1)) if members else np.zeros(0, int)
            if rows.size:
                turn = 1.0 if m == 0 else np.cos(m * angle) if signed > 0 else np.sin(m * angle)
                values[rows] += (
                    expansion[rows][:, members] @ _radial(m, [orders[i][0] for i in members], radius) * turn
                )
    return values


def _radial(m: int, orders: list[int], radius: FloatArray) -> FloatArray:
    """Radial parts (order, point) with Noll's norm: r^m times Jacobi polynomials P_k^(0,m)(2 r^2 - 1), n = m
    + 2 k, by recurrence.
    """
    t = 2 * radius**2 - 1
    previous, current = np.zeros_like(t), np.ones_like(t)
    # Upwards from order 0: powers of r would cancel each other at high orders.
    polynomials = [current]
    for k in range(1, (max(orders) - m) // 2 + 1):
        s = 2 * k + m  # Abramowitz & Stegun 22.7.1 with alpha = 0, beta = m
        a, b = 2 * k * (k + m) * (s - 2), (s - 1) * (s * (s - 2) * t - m * m)
        c = 2 * (k - 1) * (k + m - 1) * s
        following = ((m + 2) * t - m) / 2 if k == 1 else (b * current - c * previous) / a
        previous, current = current, following
        polynomials.append(current)
    norm, power = math.sqrt(1 if m == 0 else 2), radius**m
    return np.stack([norm * math.sqrt(n + 1) * power * polynomials[(n - m) // 2] for n in orders])


def _block_covariance(m: int, orders: list[int]) -> FloatArray:
    return np.array([[_covariance(n, other, m) for other in orders] for n in orders])


def _covariance(n: int, other: int, m: int) -> float:
    """Covariance of two Zernike coefficients of equal azimuthal order m, in rad^2 at D/r0 = 1."""
    sign = -1.0 if (n + other - 2 * m) // 2 % 2 else 1.0
    # As logarithms, for Gamma overflows beyond order 170; lgamma drops the sign of Gamma at negative
    # arguments.
    logarithm, negative = math.lgamma((n + other - 5 / 3) / 2) - math.lgamma((n + other + 23 / 3) / 2), 1.0
    for argument in ((n - other + 17 / 3) / 2, (other - n + 17 / 3) / 2):
        logarithm -= math.lgamma(argument)
        negative *= -1.0 if argument < 0 and math.floor(argument) % 2 else 1.0
    return _COVARIANCE * sign * negative * math.sqrt((n + 1) * (other + 1)) * math.exp(logarithm)
