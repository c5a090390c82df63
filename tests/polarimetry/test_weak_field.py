"""The weak-field approximation: against its own formula, against the simulated Sun, and its errors."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from heliorestore.cli import main
from heliorestore.errors import SettingsError
from heliorestore.polarimetry.weak_field import weak_field
from heliorestore.simulate.magnetic import magnetic_field
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.stokes import LINES, stokes

OFFSETS = np.arange(-16, 17, 4.0)  # pm
LINE = LINES["fe-6302"]


def test_the_field_of_the_simulated_sun_is_found_with_its_sign() -> None:
    patch = Patch(shape=(64, 64), pixel_arcsec=0.2, scene="granulation", seed=3)
    profiles = stokes(patch, "fe-6302", list(OFFSETS))
    found = weak_field(
        profiles, np.full(profiles.shape, 1e-3), LINE.wavelength_nm + OFFSETS / 1000, LINE.lande
    )
    true = magnetic_field(patch)
    weak = (np.hypot(*true[:2]) < 150) & (np.abs(true[2]) > 5) & (np.abs(true[2]) < 200)
    assert weak.sum() > 50
    assert found.line_of_sight is not None
    ratio = np.median(found.line_of_sight[weak] / true[2][weak])
    # The slope of a line with nine points is a little too flat.
    assert 0.9 < ratio < 1.25
    # Linear polarisation is where the field is transversal.
    across = np.hypot(*true[:2])
    assert np.corrcoef(found.linear.ravel(), across.ravel() ** 2)[0, 1] > 0.6


def test_errors_are_those_of_noise() -> None:
    waves = LINE.wavelength_nm + OFFSETS / 1000
    intensity = 1 - 0.5 * np.exp(-((OFFSETS / 6) ** 2) / 2)
    shape = (4, len(OFFSETS), 60, 60)
    clean = np.zeros(shape)
    clean[0] = intensity[:, None, None]
    clean[1], clean[2] = 0.03, 0.04
    noise = 2e-3 * np.random.default_rng(0).standard_normal(shape)
    noise[0] = 0
    found = weak_field(clean + noise, np.full(shape, 2e-3), waves, LINE.lande)
    assert found.line_of_sight is not None
    assert found.line_of_sight_sigma is not None
    assert found.line_of_sight.std() == pytest.approx(float(found.line_of_sight_sigma.mean()), rel=0.1)
    assert found.linear.std() == pytest.approx(float(found.linear_sigma.mean()), rel=0.1)
    assert found.linear.mean() == pytest.approx((0.05 / intensity).mean(), rel=2e-3)
    assert found.azimuth.mean() == pytest.approx(np.degrees(np.arctan2(4, 3)) / 2, abs=0.5)
    # Without a signal the noise is no linear polarisation of its own size.
    nothing = weak_field(
        np.where(np.arange(4)[:, None, None, None] == 0, clean, noise), np.full(shape, 2e-3), waves, 1
    )
    biased = np.hypot(noise[1], noise[2]) / clean[0]
    assert nothing.linear.mean() < 0.7 * biased.mean()
    assert weak_field(clean[:, :2], clean[:, :2], waves[:2], 1.0).line_of_sight is None
    with pytest.raises(SettingsError, match="Lande factor is 0"):
        weak_field(clean, clean, waves, 0.0)


def test_the_command_writes_the_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patch = Patch(shape=(32, 32), pixel_arcsec=0.2, scene="granulation", seed=3)
    profiles = stokes(patch, "fe-6302", [-8.0, 0.0, 8.0]).astype(np.float32)
    header = fits.Header()
    for axis, (ctype, unit, value, step) in enumerate(
        (
            ("HPLN-TAN", "arcsec", 10, 0.2),
            ("HPLT-TAN", "arcsec", 20, 0.2),
            ("WAVE", "nm", 630.242, 0.008),
            ("STOKES", "", 1, 1),
        ),
        1,
    ):
        header[f"CTYPE{axis}"], header[f"CUNIT{axis}"], header[f"CRVAL{axis}"] = ctype, unit, value
        header[f"CRPIX{axis}"], header[f"CDELT{axis}"] = 1.0, step
    source, out = tmp_path / "s.fits", tmp_path / "b.fits"
    fits.PrimaryHDU(profiles, header).writeto(source)
    assert main(["field", str(source), "-o", str(out), "--lande", "2.5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    with fits.open(out) as hdus:
        field = np.squeeze(hdus[0].data)
        assert field.shape == (32, 32)
        assert hdus[0].header["BUNIT"] == "G"
        assert hdus[0].header["CRVAL1"] == 10
        assert hdus[0].header["PRSTEP1"] == "WEAK-FIELD-APPROXIMATION"
        assert np.median(np.abs(field)) == pytest.approx(facts["field_gauss"], rel=1e-4)
        assert {"UNCERTAINTY", "LINEAR", "AZIMUTH"} <= {hdu.name for hdu in hdus}
    up = magnetic_field(patch)[2]
    assert np.corrcoef(field.ravel(), up.ravel())[0, 1] > 0.7
    assert main(["field", str(out), "-o", str(tmp_path / "c.fits"), "--lande", "2.5"]) == 2
    assert "no I, Q, U and V" in capsys.readouterr().err
