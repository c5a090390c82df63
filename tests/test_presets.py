"""Presets: what comes along fits the method, what is saved comes back, what is wrong is one sentence."""

from pathlib import Path

import pytest

from heliorestore.cli import main
from heliorestore.errors import SettingsError
from heliorestore.fits.reader import read
from heliorestore.instrument import find
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.richardson_lucy import RichardsonLucySettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.presets import delete_preset, find_preset, presets, save_preset
from heliorestore.samples import sample_path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, empty."""
    monkeypatch.setattr("heliorestore.presets.own_folder", lambda: tmp_path / "own")
    return tmp_path / "own"


INSTRUMENTS = {
    "crisp-spot": "crisp-8542",
    "crisp-quiet": "crisp-8542",
    "chromis": "chromis-3934",
    "hifi": "hifi-6563",
}


def test_the_shipped_presets_are_there() -> None:
    assert presets("sv-momfbd").keys() == INSTRUMENTS.keys()
    assert not any(preset.own for preset in presets("sv-momfbd").values())


@pytest.mark.parametrize(("name", "instrument"), INSTRUMENTS.items())
def test_a_shipped_preset_fits_its_instrument(name: str, instrument: str) -> None:
    preset = find_preset(name, "sv-momfbd")
    settings = preset.settings(SvMomfbdSettings)
    assert isinstance(settings, SvMomfbdSettings)
    assert preset.about
    camera = find(instrument)
    assert settings.r0_cm is None  # the data say it
    r0_m = 0.1 * (camera.wavelength_nm / 854.2) ** 1.2  # of ordinary seeing
    seeing_px = camera.wavelength_nm * 1e-9 / r0_m * 206264.8 / camera.pixel_arcsec
    assert 2.8 < settings.psf / seeing_px < 3.3
    assert settings.patch >= settings.psf


def test_what_is_saved_comes_back_to_the_last_bit() -> None:
    settings = SvMomfbdSettings(
        lambda_object=0.1 + 0.2,
        positive=True,
        object_weights='1, "0.5" \\ ☉ 𝛌',
        start="average",
        checkpoint="run.pt",
        memory_gb=2.0,
    )
    save_preset("my spot", settings, about="What I use.")
    preset = find_preset("my spot", "sv-momfbd")
    assert preset.about == "What I use."
    assert preset.settings(SvMomfbdSettings) == settings.replace(checkpoint="", memory_gb=None)
    assert preset.own
    assert next(iter(presets("sv-momfbd"))) == "my spot"
    delete_preset(preset)
    assert "my spot" not in presets("sv-momfbd")


def test_a_value_that_became_the_default_is_kept_all_the_same() -> None:
    path = save_preset("plain", MomfbdSettings())
    assert "modes = 44" in path.read_text()


def test_an_own_preset_hides_a_shipped_one_which_stays() -> None:
    save_preset("hifi", SvMomfbdSettings(lambda_object=0.5))
    assert find_preset("hifi", "sv-momfbd").settings(SvMomfbdSettings).lambda_object == 0.5
    delete_preset(presets("sv-momfbd")["hifi"])
    with pytest.raises(SettingsError, match="is bundled with heliorestore"):
        delete_preset(presets("sv-momfbd")["hifi"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[settings]\nlambda_objekt = 0.1", "did you mean lambda_object"),
        ("[settings]\nlambda_object = 'much'", "must be a finite number"),
        ("[settings]\nlambda_object = 99", "must be 0 to 10"),
        ("[settings]\nmodes = 2.5", "must be a whole number"),
        ("[setting]\nmodes = 2", "it says setting"),
        ("settings = 3", "a table"),
        ("[settings", "cannot be read"),
    ],
)
def test_mistakes_are_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(f'method = "sv-momfbd"\n{text}\n')
    with pytest.raises(SettingsError, match=words):
        find_preset(str(path), "sv-momfbd").settings(SvMomfbdSettings)


def test_names_and_methods_must_fit() -> None:
    with pytest.raises(SettingsError, match=r"No preset is called 'crips'.*crisp-spot"):
        find_preset("crips", "sv-momfbd")
    with pytest.raises(SettingsError, match="There is no preset"):
        find_preset("nowhere/p.toml", "sv-momfbd")
    with pytest.raises(SettingsError, match="is for sv-momfbd, not for richardson-lucy"):
        find_preset("hifi", "sv-momfbd").settings(RichardsonLucySettings)
    for name in ("../evil", "", "a/b"):
        with pytest.raises(SettingsError, match="cannot be called"):
            save_preset(name, SvMomfbdSettings())
    with pytest.raises(SettingsError, match="No preset is called"):
        find_preset("../own/x", "sv-momfbd")


def test_a_damaged_file_does_not_hide_the_others(folder: Path) -> None:
    folder.mkdir()
    (folder / "broken.toml").write_text("[")
    assert presets("sv-momfbd").keys() == INSTRUMENTS.keys()


def test_flags_win_over_the_preset_and_the_file_says_so(tmp_path: Path, capsys) -> None:
    save_preset("soft", RichardsonLucySettings(iterations=3, damping=0.25))
    out = tmp_path / "out.fits"
    arguments = [
        "richardson-lucy",
        str(sample_path("hmi_continuum.fits")),
        "-o",
        str(out),
        "--preset",
        "soft",
        "--iterations",
        "2",
    ]
    assert main([*arguments, "--quiet", "--device", "cpu"]) == 0
    snapshot = read(out)
    values = {name: text for name, text, *_ in snapshot.run.settings.rows}
    assert (values["iterations"], values["damping"]) == ("2", "0.25")
    assert "Begun with the preset soft." in snapshot.messages
    assert main([*arguments[:4], "--preset", "harsh"]) == 2
    assert "No preset is called 'harsh'" in capsys.readouterr().err
