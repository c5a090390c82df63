"""Names of modes, as opticians call the Zernikes that they are like."""

from __future__ import annotations

from collections import Counter

import numpy as np

from heliorestore.optics.modes import Basis, noll

_NAMES = {
    2: "tilt in x",
    3: "tilt in y",
    4: "defocus",
    5: "oblique astigmatism",
    6: "vertical astigmatism",
    7: "vertical coma",
    8: "horizontal coma",
    9: "vertical trefoil",
    10: "oblique trefoil",
    11: "spherical aberration",
    12: "vertical secondary astigmatism",
    13: "oblique secondary astigmatism",
    14: "vertical quadrafoil",
    15: "oblique quadrafoil",
    22: "secondary spherical aberration",
}
"""By Noll's index; Noll (1976), doi:10.1364/JOSA.66.000207."""


def mode_names(basis: Basis) -> tuple[str, ...]:
    """A name such as "4: defocus" for every mode: the Noll index and the name of the Zernike that it is like.

    A Karhunen-Loeve mode has the symmetry of its strongest Zernike, and counts as the first, second, ... of
    that symmetry in order of strength, as the Zernikes' radial orders do: its own strongest Zernike may be of
    a higher order, as several share a mode.
    """
    found: Counter[int] = Counter()
    names = []
    for expansion in basis.expansion:
        _, m = noll(2 + int(np.abs(expansion[1:]).argmax()))
        n = max(abs(m), 2 * (m == 0)) + 2 * found[m]
        found[m] += 1
        index = _noll_index(n, m)
        names.append(f"{index}: {_NAMES.get(index, f'n = {n}, m = {abs(m)}')}")
    return tuple(names)


def _noll_index(n: int, m: int) -> int:
    """Noll's index of the Zernike with these orders; the inverse of `noll`."""
    first = n * (n + 1) // 2 + 1
    return next(j for j in range(first, first + n + 1) if noll(j) == (n, m))
