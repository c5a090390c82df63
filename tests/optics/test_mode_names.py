"""Modes are called after the Zernikes that they are like, in the order in which the code has them."""

import numpy as np

from heliorestore.optics.mode_names import mode_names
from heliorestore.optics.modes import make_basis
from heliorestore.optics.pupil import Aperture


def test_zernikes_are_called_by_their_own_names():
    names = mode_names(make_basis(14, kind="zernike"))
    assert names[:4] == ("2: tilt in x", "3: tilt in y", "4: defocus", "5: oblique astigmatism")
    assert [int(name.split(":")[0]) for name in names] == list(range(2, 16))


def test_every_name_is_given_once_and_fits_the_shape_of_the_mode():
    basis = make_basis(60, kind="kl-tilt")
    names = mode_names(basis)
    assert len(set(names)) == 60
    y, x = np.mgrid[-1:1:65j, -1:1:65j]
    shapes = basis.sample(y, x)
    inside = np.hypot(y, x) < 0.95

    def like(name, wanted):
        (found,) = [k for k, each in enumerate(names) if each == name]
        return np.corrcoef(shapes[found][inside], wanted[inside])[0, 1]

    assert like("2: tilt in x", x) > 0.99
    assert like("3: tilt in y", y) > 0.99
    assert like("4: defocus", x**2 + y**2) > 0.95
    assert like("5: oblique astigmatism", 2 * x * y) > 0.95
    assert like("6: vertical astigmatism", x**2 - y**2) > 0.95
    assert like("7: vertical coma", (3 * (x**2 + y**2) - 2) * y) > 0.9
    r2 = x**2 + y**2
    assert like("11: spherical aberration", 6 * r2**2 - 6 * r2 + 1) > 0.85
    # the third with this symmetry, though the strongest of its Zernikes is of a higher order
    r = np.linspace(0, 0.98, 200)
    profile = basis.sample(np.zeros_like(r), r)[names.index("22: secondary spherical aberration")]
    assert np.count_nonzero(np.diff(np.sign(profile))) == 3


def test_an_obscured_aperture_has_the_same_names():
    names = mode_names(make_basis(20, Aperture(diameter_m=1.0, obscuration_m=0.3), kind="kl-tilt"))
    assert len(set(names)) == 20
    assert names[:2] == ("2: tilt in x", "3: tilt in y")
