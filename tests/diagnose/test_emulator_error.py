from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from heliorestore.cli import main
from heliorestore.diagnose import emulator_error
from heliorestore.diagnose.emulator_error import Models, make_models
from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN
from heliorestore.methods.blind.emulated import load_emulator
from heliorestore.simulate.photosphere import quiet_sun

CRISP = KNOWN["crisp-8542-paper"]


@pytest.fixture(autouse=True)
def _one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the air; its modes over a field take longer than the blurs of so small images."""
    monkeypatch.setattr(emulator_error, "_SEEDS", (1,))


@pytest.fixture(scope="module")
def models() -> Models:
    return make_models(load_emulator("emulator-narrow", torch.device("cpu")), CRISP, 48, 32)


def test_errors_are_what_their_names_say() -> None:
    exact = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    found = emulator_error.error(exact + torch.tensor([[0.5, 0.0], [0.0, -0.5]]), exact)
    assert found.nmse == pytest.approx(0.5 / 18)
    assert found.of_variance == pytest.approx(0.5 / 2)
    assert found.largest == pytest.approx(0.5 / 3)


def test_the_defocus_stands_on_the_diagonal_and_is_no_other_mode(models: Models) -> None:
    modes = emulator_error.defocus_modes(models, 0.25)
    number = int(modes.abs().amax((1, 2)).argmax())
    assert int((modes.abs().amax((1, 2)) > 0).sum()) == 1
    assert int(np.abs(models.optics.basis.expansion[number]).argmax()) == 3  # Noll 4
    assert divmod(int(modes[number].argmax()), 48) == (12, 12)
    assert float(modes[number, 12, 12]) == pytest.approx(emulator_error.DEFOCUS_RAD)
    assert float(modes[number, 12, 42]) == pytest.approx(emulator_error.DEFOCUS_RAD * np.exp(-0.5))


def test_filter_flow_is_the_more_exact_the_finer_its_nodes(models: Models) -> None:
    object_ = torch.tensor(quiet_sun(CRISP, models.object_side), dtype=torch.float32)
    assert float(object_.mean()) == pytest.approx(1, abs=0.1)
    assert 0.05 < float(object_.std()) < 0.2
    found = emulator_error.turbulence_errors(models, object_, 30.0)
    assert (
        found["step 8"].nmse
        < found["step 16"].nmse
        < found["step 32"].nmse
        < found["emulator"].nmse
        < found["no blur"].nmse
    )
    same = emulator_error.turbulence_errors(models, object_, 30.0, varying=False)
    assert same["step 8"].nmse < 1e-10  # equal PSFs everywhere: the convolution itself
    plain = models.blurs["exact"](object_, torch.zeros(44, 48, 48))
    torch.testing.assert_close(
        models.blurs["step 32"](object_, torch.zeros(44, 48, 48)), plain, rtol=0, atol=1e-4
    )


def test_half_the_tilts_are_left(models: Models) -> None:
    sigmas = emulator_error.strengths(models.optics, 10.0)
    # Noll (1976): 0.896 (D/r0)^(5/3) rad^2 are in both tilts.
    assert float(sigmas[:2].square().sum()) == pytest.approx(0.25 * 0.896 * 10 ** (5 / 3), rel=0.01)


def test_one_line_compares_an_emulator_with_filter_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (
        ("_DEFOCUS_SIDE", 48),
        ("_DEFOCUS_PSF", 32),
        ("_TURBULENCE_SIDE", 32),
        ("_TURBULENCE_PSF", 32),
    ):
        monkeypatch.setattr(emulator_error, name, value)
    monkeypatch.setattr(emulator_error, "R0_CM", (40.0,))
    assert main(["weights", "compare", "emulator-narrow"]) == 0
    head, columns, defocus, turbulence, seconds = capsys.readouterr().out.splitlines()
    assert head.startswith("emulator-narrow beside filter flow, SST/CRISP 8542 (paper): ")
    assert columns.split() == ["emulator", "step", "32", "step", "16", "step", "8", "no", "blur"]
    for label, line in (("defocus of 3 rad, 48 px", defocus), ("varying, r0 40 cm, 32 px", turbulence)):
        assert line.startswith(label)
        emulator, *steps, nothing = [float(word) for word in line[28:].split()]
        assert max(steps) < emulator < nothing
    assert len(seconds[28:].split()) == 4

    image = np.full((90, 90), 500.0, np.float32)
    fits.writeto(tmp_path / "flat.fits", image)
    assert (
        main(["weights", "compare", "--object", str(tmp_path / "flat.fits"), "--instrument", "hifi-6563"])
        == 0
    )
    assert "GREGOR/HiFI 6563: " in capsys.readouterr().out


def test_what_cannot_be_compared_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for image, message in (
        (np.ones((40, 400)), r"40, 400\) pixels"),
        (np.full((400, 400), np.nan), "bad pixels"),
    ):
        with pytest.raises(SettingsError, match=message):
            list(emulator_error.report("emulator-narrow", CRISP, image))
    assert main(["weights", "compare", "enhance-continuum"]) == 2
    assert "not of an emulator" in capsys.readouterr().err
    assert main(["weights", "compare", "--instrument", "hmi-6173"]) == 2
    said = capsys.readouterr()
    assert "not trained for SDO/HMI" in said.err
    assert not said.out  # nothing was computed before
