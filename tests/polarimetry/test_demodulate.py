"""From states to Stokes images: matrices, noise, registration, cross-talk, and the file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import heliorestore
from heliorestore.burst import Burst
from heliorestore.cli import main
from heliorestore.coordinates import WIDE_BAND, Coordinates
from heliorestore.errors import RestorationError, SettingsError
from heliorestore.fits.burst_writer import write_burst
from heliorestore.fits.writer import write
from heliorestore.instrument import KNOWN
from heliorestore.polarimetry.crosstalk import fit_crosstalk
from heliorestore.polarimetry.cube import make_stokes
from heliorestore.polarimetry.demodulation import Demodulation, read_demodulation
from heliorestore.polarimetry.noise_filter import noise_filter
from heliorestore.polarimetry.states import ANCHOR, gather_states
from heliorestore.settings import SavedSettings
from heliorestore.simulate.polarimeter import TETRAHEDRON
from heliorestore.snapshot import Run, Snapshot

SIZE = 96


def smooth(seed: int) -> np.ndarray:
    """A field of smooth structure (y, x) of unit standard deviation."""
    k = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE))
    image = np.fft.irfft2(
        np.fft.rfft2(np.random.default_rng(seed).standard_normal((SIZE, SIZE))) * np.exp(-((k / 0.1) ** 2))
    )
    return (image - image.mean()) / image.std()


def moved(image: np.ndarray, y: float, x: float) -> np.ndarray:
    ky, kx = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)
    return np.fft.irfft2(np.fft.rfft2(image) * np.exp(-2j * np.pi * (ky * y + kx * x)))


@pytest.fixture(scope="module")
def sun() -> np.ndarray:
    """I, Q, U, V (stokes, y, x): one place is polarised."""
    i = 1 + 0.1 * smooth(0)
    spot = np.exp(-((np.arange(SIZE) - 30) ** 2) / 60)
    signal = spot[:, None] * spot
    return np.stack([i, 0.02 * signal, -0.01 * signal, 0.05 * signal])


@pytest.fixture
def restored(sun: np.ndarray, tmp_path: Path) -> Path:
    """A restored file with the wide band and four states, displaced as their anchors say."""
    states = np.einsum("ns,syx->nyx", TETRAHEDRON, sun)
    wide = 1 + 0.15 * smooth(0)
    steps = ((0.5, -0.3), (-0.4, 0.2), (0.1, 0.6), (-0.2, -0.5))
    images = [wide, *(moved(s, *step) for s, step in zip(states, steps, strict=True))]
    anchors = [wide, *(moved(wide, *step) for step in steps)]
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "HPLN-TAN", "HPLT-TAN"
    for axis, value in ((1, 100.0), (2, -50.0)):
        header[f"CUNIT{axis}"], header[f"CDELT{axis}"] = "arcsec", 0.059
        header[f"CRPIX{axis}"], header[f"CRVAL{axis}"] = (SIZE + 1) / 2, value
    header["OBSERVER"] = "Carlsson"
    header["PRSTEP1"], header["PRPROC1"] = "FLATFIELDING", "somebody's"
    near = [Coordinates(wavelength_nm=630.25, offset_pm=-8.0, state=k, camera="nb") for k in (2, 0, 1, 3)]
    order = [0, 3, 1, 2, 4]  # objects in another order than the states
    run = Run(
        settings=SavedSettings("momfbd", ()),
        device="cpu",
        seed=0,
        instruments=(KNOWN["crisp-6302-paper"],) * 5,
        labels=("wide band", *(each.label for each in near)),
        unit="I/Ic",
        headers=(header,) * 5,
        coordinates=(Coordinates(camera=WIDE_BAND), *near),
    )
    shown = [np.stack(each)[order] for each in (images, anchors)]
    return write(
        Snapshot(step=1, total=1, images=shown[0], maps={ANCHOR: shown[1]}, run=run), tmp_path / "r.fits"
    )


def test_the_matrix_of_the_least_noise() -> None:
    known = Demodulation.of_modulation(TETRAHEDRON)
    assert np.allclose(known.efficiencies, [1, *[1 / np.sqrt(3)] * 3])
    assert np.allclose(known.noise, [0.5, *[np.sqrt(3) / 2] * 3])
    sigma = np.full((4, 3, 3), 2.0)
    assert np.allclose(known.propagated(sigma)[3], np.sqrt(3))
    # One for every pixel does the same.
    per_pixel = Demodulation(np.broadcast_to(known.matrix[..., None, None], (4, 4, 3, 3)))
    states = np.random.default_rng(0).standard_normal((4, 2, 3, 3))
    assert np.allclose(per_pixel.apply(states), known.apply(states))
    with pytest.raises(SettingsError, match="do not tell I, Q, U and V apart"):
        Demodulation.of_modulation(np.ones((4, 4)))
    with pytest.raises(SettingsError, match="3 x 3 pixels, the images have 5 x 4"):
        per_pixel.apply(np.ones((4, 4, 5)))


def test_a_matrix_comes_from_toml_and_fits(tmp_path: Path) -> None:
    wanted = Demodulation.of_modulation(TETRAHEDRON).matrix
    toml, image, named = tmp_path / "m.toml", tmp_path / "m.fits", tmp_path / "n.fits"
    toml.write_text(f"modulation = {TETRAHEDRON.tolist()}")
    fits.PrimaryHDU(wanted).writeto(image)
    fits.HDUList([fits.PrimaryHDU(np.ones((4, 4))), fits.ImageHDU(TETRAHEDRON, name="MODULATION")]).writeto(
        named
    )
    for path in (toml, image, named):
        assert np.allclose(read_demodulation(path).matrix, wanted)
    for text, sentence in (
        ("demodulation = [[1, 2], [3, 4]]", r"shape \(2, 2\); it must be 4 x n"),
        ("other = 1", "neither demodulation"),
        ("=", "is no TOML file"),
        ("modulation = [[1, 2], [3]]", "no table of numbers"),
    ):
        toml.write_text(text)
        with pytest.raises(SettingsError, match=sentence):
            read_demodulation(toml)


def test_states_are_registered_by_their_anchors_before_they_are_subtracted(
    sun: np.ndarray, restored: Path
) -> None:
    states, known = gather_states([restored], 4), Demodulation.of_modulation(TETRAHEDRON)
    assert states.images.shape == (4, 1, SIZE, SIZE)
    inner = np.s_[:, 12:-12, 12:-12]
    errors = [
        (make_stokes(states, known, register=register).images[:, 0] - sun)[inner].std((1, 2))
        for register in (False, True)
    ]
    assert (errors[0][1:] > 4e-3).all()
    assert (errors[1][1:] < 4e-4).all()


def test_states_of_files_apart_are_registered_on_the_wide_bands_beside_them(
    sun: np.ndarray, restored: Path, tmp_path: Path
) -> None:
    """One file for each state, and none that says which of its two objects is what."""
    found, known = heliorestore.read(restored), Demodulation.of_modulation(TETRAHEDRON)
    assert isinstance(found, Snapshot)
    assert found.run is not None
    paths = []
    for state, place in enumerate((2, 3, 1, 4)):  # where the state stands in the file
        images = np.stack([found.array(ANCHOR)[place], found.images[place]])
        run = replace(
            found.run,
            coordinates=(),
            **{name: getattr(found.run, name)[:2] for name in ("instruments", "labels", "headers")},
        )
        paths.append(write(Snapshot(step=1, total=1, images=images, run=run), tmp_path / f"{state}.fits"))
    apart = gather_states(paths, 4, wide_band=0)
    errors = [
        (make_stokes(apart, known, register=register).images[1:, 0] - sun[1:])[:, 12:-12, 12:-12].std((1, 2))
        for register in (False, True)
    ]
    assert (errors[0] > 4e-3).all()
    assert (errors[1] < 6e-4).all()  # the first wide band says where the Sun stands, half a pixel away
    with pytest.raises(SettingsError, match="no object 2: a file has 2"):
        gather_states(paths, 4, wide_band=2)
    with pytest.raises(SettingsError, match="--wide-band N says"):
        gather_states(paths[:3], 4)


def test_intensity_in_v_is_found_where_there_is_no_signal() -> None:
    i, v = 2 + 0.2 * smooth(1), np.zeros((SIZE, SIZE))
    v[20:50, 20:60] = 0.3
    noise = 1e-3 * np.random.default_rng(0).standard_normal(v.shape)
    found = fit_crosstalk(v + noise + 2 * 0.01 + 0.02 * (i - i.mean()), i)
    assert found.offset == pytest.approx(0.01, rel=0.03)
    assert found.intensity == pytest.approx(0.02, rel=0.03)
    assert not found.weak[20:50, 20:60].any()
    assert found.rms == pytest.approx(0.02 * i.std() / 2, rel=0.1)
    clean = found.removed(v + 2 * 0.01 + 0.02 * (i - i.mean()), i)
    assert np.allclose(clean, v, atol=5e-4)


def test_noise_is_filtered_by_what_the_anchors_show(restored: Path) -> None:
    random = np.random.default_rng(5)
    signal, noise = 3e-3 * smooth(7), 6e-3 * random.standard_normal((SIZE, SIZE))
    found = noise_filter(signal + noise, 0.01 * random.standard_normal((SIZE, SIZE)), cutoff=0.45)
    assert (np.diff(found.factors) <= 0).all()
    error = (found.apply(signal + noise) - signal).std()
    assert error < 0.45 * noise.std()
    assert found.left == pytest.approx(found.apply(noise).std() / noise.std(), rel=0.25)
    # What has next to no noise is left alone where it has structure.
    clean = noise_filter(signal + 1e-3 * noise, noise, cutoff=0.45)
    assert (clean.apply(signal) - signal).std() < 0.02 * signal.std()
    states = replace(gather_states([restored], 4), anchors=None)
    with pytest.raises(SettingsError, match="only the anchors say"):
        make_stokes(states, Demodulation.of_modulation(TETRAHEDRON), filter_noise=True)


def test_the_command_writes_stokes_images_with_place_and_record(
    sun: np.ndarray, restored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix, out = tmp_path / "m.toml", tmp_path / "s.fits"
    matrix.write_text(f"modulation = {TETRAHEDRON.tolist()}")
    flags = ["--matrix", str(matrix), "--crosstalk", "remove", "--noise", "filter", "--json"]
    assert main(["demodulate", str(restored), "-o", str(out), *flags]) == 0
    printed = capsys.readouterr().out
    facts = json.loads(printed.splitlines()[-1])
    assert facts["efficiencies"] == [1.0, 0.5774, 0.5774, 0.5774]
    assert "0.577" in printed
    burst = heliorestore.read(out)
    assert isinstance(burst, Burst)
    assert burst.shape == (4, 1, SIZE, SIZE)
    assert [label[-1] for label in burst.labels] == list("IQUV")
    assert burst.instruments[0].wavelength_nm == pytest.approx(630.242)
    assert burst.unit == "I/Ic"
    assert np.abs(burst.image(3, 0) - sun[3])[12:-12, 12:-12].max() < 3e-3
    with fits.open(out) as hdus:
        header = hdus[0].header
        assert header["OBSERVER"] == "Carlsson"
        assert header["PRSTEP1"] == "FLATFIELDING"
        assert [header[f"PRSTEP{n}"] for n in (2, 3)] == ["MOMFBD", "STOKES-DEMODULATION"]
        assert abs(header["XTVLEFT"]) == pytest.approx(facts["crosstalk_left"][2][0])
        assert header["XTREMOVE"] is True
        assert "anchor" in header["PRLOG3"]
        assert np.allclose(WCS(header).celestial.wcs.crval, [100 / 3600, -50 / 3600])
        assert np.allclose(hdus["DEMODULATION"].data, np.linalg.pinv(TETRAHEDRON), atol=1e-6)
        assert hdus["UNCERTAINTY"].data.shape == (4, 1, SIZE, SIZE)
        assert hdus["INPUTS"].data["SHA256"][0]


def test_frames_of_a_burst_are_averaged_and_places_need_not_be_even(sun: np.ndarray, tmp_path: Path) -> None:
    offsets = (-8.0, 0.0, 20.0)
    coordinates = [
        Coordinates(wavelength_nm=630.25, offset_pm=offset, state=state)
        for offset in offsets
        for state in range(4)
    ]
    states = np.tile(np.einsum("ns,syx->nyx", TETRAHEDRON, sun), (3, 1, 1))
    frames = np.stack([states + 0.1, states - 0.1], axis=1).astype(np.float32)
    instruments = (KNOWN["crisp-6302-paper"],) * 12
    path = write_burst(
        Burst(frames=frames, coordinates=tuple(coordinates), instruments=instruments), tmp_path / "b.fits"
    )
    matrix, out = tmp_path / "m.fits", tmp_path / "s.fits"
    fits.PrimaryHDU(np.linalg.pinv(TETRAHEDRON)).writeto(matrix)
    assert main(["demodulate", str(path), "-o", str(out), "--matrix", str(matrix), "--no-register"]) == 0
    burst = heliorestore.read(out)
    assert isinstance(burst, Burst)
    assert burst.shape[0] == 12
    waves = [instrument.wavelength_nm for instrument in burst.instruments]
    assert waves[:3] == pytest.approx([630.242, 630.25, 630.27])
    assert np.allclose(burst.image(9, 0), sun[3], atol=1e-5)
    with pytest.raises(SettingsError, match="12 images besides the wide band, and the matrix is for 5"):
        gather_states([path], 5)


def test_dead_frames_are_named_and_values_beyond_single_precision_refused(
    sun: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = np.einsum("ns,syx->nyx", TETRAHEDRON, sun).astype(np.float32)
    frames = np.stack([states, states, states], axis=1)
    frames[2, 1] = 0.0  # a camera that failed
    matrix, out = tmp_path / "m.fits", tmp_path / "s.fits"
    fits.PrimaryHDU(np.linalg.pinv(TETRAHEDRON)).writeto(matrix)
    line = ["-o", str(out), "--matrix", str(matrix), "--no-register"]
    path = write_burst(Burst.from_array(frames, KNOWN["crisp-6302-paper"]), tmp_path / "b.fits")
    assert main(["demodulate", str(path), *line]) == 0
    assert "b.fits: object 2: frame 1 left out of the mean" in capsys.readouterr().err
    assert "left out of the mean" in str(fits.getheader(out).get("PRLOG1", ""))
    path = write_burst(Burst.from_array(1e35 * frames, KNOWN["crisp-6302-paper"]), tmp_path / "huge.fits")
    assert main(["demodulate", str(path), *line, "--overwrite"]) == 2
    assert "give them in another unit" in capsys.readouterr().err


def test_states_without_a_pixel_in_common_are_a_sentence(sun: np.ndarray) -> None:
    states = np.einsum("ns,syx->nyx", TETRAHEDRON, sun).astype(np.float32)
    states[0, :, ::2] = states[1, :, 1::2] = np.nan
    found = gather_states([Burst.from_array(states[:, None], KNOWN["crisp-6302-paper"])], 4)
    with pytest.raises(RestorationError, match="No pixel has a value in all states"):
        make_stokes(found, Demodulation.of_modulation(TETRAHEDRON), register=False)
