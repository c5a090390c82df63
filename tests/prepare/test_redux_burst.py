"""Configurations of redux: what they say becomes frames, instruments and settings, and nothing is dropped."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from heliorestore.cli import main
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits.reader import read
from heliorestore.fits.redux_cfg import read_config, whole_numbers
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.preparation import Preparation
from heliorestore.prepare.opening import open_burst, prepared
from heliorestore.prepare.redux_burst import burst_of

TEXT = """\
; two cameras of one beam
object{
  WAVELENGTH=6.302e-07
  OUTPUT_FILE=results/wb
  WEIGHT=0.5
  channel{
    IMAGE_DATA_DIR=wb
    FILENAME_TEMPLATE=wb.%05d.fits
    DARK_TEMPLATE=dark.%03d.fits
    DARK_NUM=7
    GAIN_FILE=gain.fits
    INCOMPLETE
  }
}
object {
  WAVELENGTH = 630.2 nm   # with a unit
  channel {
    IMAGE_DATA_DIR=nb
    FILENAME_TEMPLATE=nb.%05d.fits
    ALIGN_MAP=1,0,3,0,1,4,0,0,1
    DIVERSITY=2.0 mm
    DT=100
  } }
BASIS=Karhunen-Loeve
MODES=2-10,12
IMAGE_NUMS=3-5,8
NUM_POINTS=32
SIM_X=20,36,52
SIM_Y=20,36
TELESCOPE_D=0.97
TELESCOPE_F=44.6
ARCSECPERPIX=0.059
FPMETHOD=median
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration with its images, of which the second of the first camera is missing."""
    dice = np.random.default_rng(0)
    for camera, numbers in (("wb", (3, 5, 8)), ("nb", (103, 105, 108))):
        (tmp_path / camera).mkdir()
        for number in numbers:
            name = tmp_path / camera / f"{camera}.{number:05d}.fits"
            fits.PrimaryHDU(dice.uniform(90, 110, (72, 80)).astype("f4") + number).writeto(name)
    for name in ("dark.007.fits", "gain.fits"):
        fits.PrimaryHDU(np.ones((72, 80), np.float32)).writeto(tmp_path / name)
    path = tmp_path / "run.cfg"
    path.write_text(TEXT)
    return path


def test_everything_is_understood_or_listed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(config), "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    facts = json.loads(last)
    # Displacement / (8 F^2) in wavelengths, from peak to valley.
    waves = 2e-3 / (8 * (44.6 / 0.97) ** 2) / 630.2e-9
    assert facts["settings"] == {
        "modes": 10, "patch": 32, "patch_step": 16, "object_weights": "0.5,1", "diversity": f"0,{waves:.6g}",
    }  # fmt: skip
    assert set(facts["unused"]) == {"OUTPUT_FILE", "FPMETHOD"}
    first, second = facts["channels"]
    assert (first["frames"], Path(first["dark"]).name, Path(first["gain"]).name) == (
        3,
        "dark.007.fits",
        "gain.fits",
    )
    assert "630.2" in first["instrument"]
    assert "0.97" in first["instrument"]
    # The second camera has no INCOMPLETE, and its third image is missing.
    assert second["missing"].endswith("nb.00104.fits of object 1 does not exist.")
    assert second["align_map"] == "1,0,3,0,1,4,0,0,1"
    assert any(line.startswith("not used") and "FPMETHOD: no counterpart" in line for line in lines)


def test_its_files_become_a_burst_and_each_camera_is_prepared(config: Path) -> None:
    asked: list[Preparation] = []

    def prepare(burst: object, preparation: Preparation) -> object:
        asked.append(preparation)
        return prepared(burst, Preparation())

    config.write_text(TEXT.replace("DT=100", "DT=100\nINCOMPLETE"))
    burst = burst_of(config, prepare)
    assert burst.shape == (2, 3, 72, 80)
    assert [Path(p.gain).name for p in asked] == ["gain.fits"]
    assert (burst.instruments[1].diameter_m, burst.instruments[1].wavelength_nm) == (0.97, 630.2)
    # ALIGN_MAP leads from x = 0, y = 0 of the first camera to x = 3, y = 4 of the second.
    seen, image = burst.image(1, 2), fits.getdata(config.parent / "nb" / "nb.00108.fits")
    np.testing.assert_array_equal(seen[:-4, :-3], image[4:, 3:])
    assert np.isnan(seen[-4:]).all()
    assert np.isnan(seen[:, -3:]).all()
    np.testing.assert_array_equal(burst.frames[0:1, 1, 3:5, 2], burst.image(0, 1)[None, 3:5, 2])
    assert burst.sources[0].path == config
    assert {"wb.00003.fits", "nb.00108.fits", "dark.007.fits", "gain.fits"} < {
        s.path.name for s in burst.sources
    }


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "IMAGE_NUMS=3-5,8",
            "IMAGE_NUMS=3-9",
            "nb.00104.fits of object 1 does not exist, nor do 3 more of its 7 files",
        ),
        ("GAIN_FILE=gain.fits", "GAIN_FILE=none.fits", "none.fits of object 0 does not exist"),
        ("DT=100", "DT=100\n INCOMPLETE\nIMAGE_NUM=3,5", "object 0 has 3 frames and object 1 2"),
        ("TELESCOPE_D=0.97", "}", "line 30: there is a } too many"),
        ("MODES=2-10,12", "{", "no keyword"),
    ],
)
def test_mistakes_are_one_sentence(config: Path, old: str, new: str, sentence: str) -> None:
    config.write_text(TEXT.replace(old, new))
    with pytest.raises(BurstError, match=sentence):
        open_burst(config, Preparation())


def test_a_run_takes_its_settings_and_flags_overrule(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.fits"
    text = TEXT.replace("DT=100", "DT=100\nINCOMPLETE").replace("DIVERSITY=2.0 mm", "")
    config.write_text(text.replace("DARK_TEMPLATE", ";").replace("GAIN_FILE", ";"))
    flags = ["--patch", "48", "--iterations", "1", "--quiet", "--device", "cpu"]
    assert main(["momfbd", str(config), "-o", str(out), *flags]) == 0
    run = read(out).run
    settings = {name: value for name, value, *_ in run.settings.rows}
    assert [settings[name] for name in ("modes", "patch", "patch_step", "object_weights")] == [
        "10",
        "48",
        "16",
        "0.5,1",
    ]
    assert run.labels == ("object 0", "object 1")
    assert "FPMETHOD: no counterpart" in " ".join(read(out).messages)
    assert main(["rerun", str(out), "-o", str(tmp_path / "again.fits"), "--quiet"]) == 0
    np.testing.assert_array_equal(fits.getdata(out), fits.getdata(tmp_path / "again.fits"))


def test_limits_of_a_setting_hold(config: Path) -> None:
    config.write_text(TEXT.replace("MODES=2-10,12", "MODES=2-900").replace("NUM_POINTS=32", "NUM_POINTS=8"))
    found = read_config(config).settings(MomfbdSettings)
    assert read_config(config).unused(MomfbdSettings)["MODES"] == "899 modes; 300 are possible"
    assert (found["modes"], found["patch"]) == (300, 16)
    assert whole_numbers("K2-4, Z7") == [2, 3, 4, 7]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("NUM_POINTS=32", "NUM_POINTS=", "'' is no number"),
        ("NUM_POINTS=32", "NUM_POINTS=1e400", "'1e400' is too large"),
        ("MODES=2-10,12", "MODES=1-99999999999", "are more than 1,000,000 numbers"),
    ],
)
def test_numbers_that_cannot_be_are_said(config: Path, old: str, new: str, says: str) -> None:
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(SettingsError, match=says):
        read_config(config).settings(MomfbdSettings)
