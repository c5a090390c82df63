import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from heliorestore import Burst, restore, stream
from heliorestore.errors import SettingsError, WeightsError
from heliorestore.instrument import KNOWN
from heliorestore.methods import enhance
from heliorestore.methods.enhance import EnhanceSettings
from heliorestore.nets import weights
from heliorestore.nets.enhance import CALIBRATION, small
from heliorestore.optics.reobserve import reobserved
from heliorestore.snapshot import StopReason

HMI = KNOWN["hmi-6173"]
SMALL = EnhanceSettings(network="small")


@pytest.fixture
def random_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small networks that were never trained, under the names of the package's."""
    torch.manual_seed(0)
    net = small()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.1, 0.5)
    for kind in ("continuum", "magnetogram"):
        record = weights.WeightsRecord(
            name=f"enhance-{kind}-small",
            architecture="enhance-small",
            kind=kind,
            pixel_arcsec=(0.45, 0.56),
            instrument=HMI.name,
        )
        weights.save(net, record, tmp_path)
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path, tmp_path))
    return tmp_path


def sun(rows: int = 60, columns: int = 50, seed: int = 0) -> np.ndarray:
    """Something like an image of granulation in counts, with a dark pore."""
    rng = np.random.default_rng(seed)
    image = 6e4 * (1 + 0.04 * rng.standard_normal((rows, columns)))
    image[rows // 3 : rows // 2, columns // 3 : columns // 2] *= 0.3
    return image.astype(np.float32)


def header(**cards: object) -> fits.Header:
    made = fits.Header()
    made.update(cards)
    return made


@pytest.mark.usefixtures("random_weights")
def test_tiles_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    burst = Burst.from_array(sun(), HMI)
    whole = restore(burst, SMALL, device="cpu")
    monkeypatch.setattr(enhance, "TILE", 16)
    tiled = list(stream(burst, SMALL, device="cpu"))
    assert [s.step for s in tiled] == [1, 2, 3, 4]
    np.testing.assert_allclose(tiled[-1].images, whole.images, rtol=0, atol=1e-5 * 6e4)
    assert whole.images.shape == (1, 120, 100)
    assert whole.zoom == 2


@pytest.mark.usefixtures("random_weights")
def test_coverage_grows_and_what_is_not_covered_is_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enhance, "TILE", 25)
    image = sun()
    snapshots = list(stream(Burst.from_array(np.stack([image, image])[:, None], HMI), SMALL, device="cpu"))
    parts = [float(s.maps["coverage"].mean()) for s in snapshots]
    assert parts == pytest.approx([50 / 240, 100 / 240, 0.5, 170 / 240, 220 / 240, 1.0], abs=1e-6)
    np.testing.assert_array_equal(snapshots[0].images[0, 50:], image.repeat(2, 0).repeat(2, 1)[50:])
    assert [s.stop for s in snapshots] == [None] * 5 + [StopReason.DONE]
    assert snapshots[0].stages == (("tile row", 6),)


@pytest.mark.usefixtures("random_weights")
def test_it_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enhance, "TILE", 20)
    burst = Burst.from_array(sun(), HMI)
    snapshots = list(stream(burst, SMALL, device="cpu"))
    resumed = list(stream(burst, SMALL, device="cpu", start=snapshots[0]))
    assert len(resumed) == 2
    np.testing.assert_array_equal(resumed[-1].images, snapshots[-1].images)


@pytest.mark.usefixtures("random_weights")
def test_the_unit_does_not_matter() -> None:
    image = sun()
    one = restore(Burst.from_array(image, HMI), SMALL, device="cpu").images
    np.testing.assert_allclose(
        restore(Burst.from_array(image / 6e4, HMI), SMALL, device="cpu").images * 6e4,
        one,
        rtol=1e-4,
        atol=1.0,
    )
    field = np.random.default_rng(0).normal(0, 300, (20, 20)).astype(np.float32)
    gauss = restore(
        Burst.from_array(field, HMI, headers=(header(BUNIT="Gauss"),)), SMALL, device="cpu"
    ).images
    for unit, factor in (("kG", 1e-3), ("mT", 0.1), ("T", 1e-4)):
        other = restore(
            Burst.from_array(field * factor, HMI, headers=(header(BUNIT=unit),)), SMALL, device="cpu"
        ).images
        np.testing.assert_allclose(other / factor, gauss, rtol=1e-3, atol=0.1)


@pytest.mark.usefixtures("random_weights")
def test_holes_stay_holes_and_harm_nobody() -> None:
    image = sun()
    image[5:8, 40:44] = np.nan
    restored = restore(Burst.from_array(image, HMI), SMALL, device="cpu")
    hole = np.isnan(restored.images[0])
    assert hole.sum() == 4 * 12
    assert hole[10:16, 80:88].all()
    assert np.isnan(restored.maps["residual"][0]).sum() == 12


@pytest.mark.usefixtures("random_weights")
def test_a_series_is_restored_frame_by_frame_or_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enhance, "TILE", 30)
    frames = np.stack([sun(seed=1), sun(seed=2), sun(seed=3)])
    burst = Burst.from_array(frames, HMI)
    snapshots = list(stream(burst, SMALL.replace(frame=1), device="cpu"))
    assert [s.step for s in snapshots] == [1, 2, 3, 4, 5, 6]
    alone = [restore(Burst.from_array(frame, HMI), SMALL, device="cpu").images for frame in frames]
    last = snapshots[-1]
    np.testing.assert_allclose(last.images, alone[1], rtol=1e-5)
    np.testing.assert_allclose(last.maps["series"], np.stack(alone, 1), rtol=1e-5)
    assert not any("mean of" in text for text in last.messages)
    averaged = restore(burst, SMALL.replace(frame=None), device="cpu")
    mean = restore(Burst.from_array(frames.mean(0), HMI), SMALL, device="cpu")
    np.testing.assert_allclose(averaged.images, mean.images, rtol=1e-5, atol=0.01)
    assert "series" not in averaged.maps
    assert any("mean of the 3 frames" in text for text in averaged.messages)
    with pytest.raises(SettingsError, match="frame is 3, but the burst has 3 frames"):
        restore(burst, SMALL.replace(frame=3), device="cpu")


@pytest.mark.usefixtures("random_weights")
def test_an_image_without_a_header_is_hmis_if_its_kind_is_named() -> None:
    bare = restore(Burst.from_array(sun()), SMALL.replace(kind="continuum"), device="cpu")
    known = restore(Burst.from_array(sun(), HMI), SMALL, device="cpu")
    np.testing.assert_array_equal(bare.images, known.images)
    np.testing.assert_array_equal(bare.maps["residual"], known.maps["residual"])
    assert any("treated as one of HMI, with pixels of 0.504 arcsec" in text for text in bare.messages)
    with pytest.raises(SettingsError, match="give --kind continuum or --kind magnetogram"):
        restore(Burst.from_array(sun()), SMALL, device="cpu")


@pytest.mark.usefixtures("random_weights")
def test_the_uncertainty_of_the_shown_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enhance, "TILE", 30)
    image = sun()
    image[5:8, 40:44] = np.nan
    burst, settings = Burst.from_array(np.stack([image, image]), HMI), SMALL.replace(uncertainty=True)
    with pytest.raises(WeightsError, match="uncertainty of the weights enhance-continuum-small was never"):
        restore(burst, settings, device="cpu")
    net, record = weights.load("enhance-continuum-small")
    calibrated = dict(zip(CALIBRATION, (0.02, 1e-9), strict=True))
    weights.save(net, dataclasses.replace(record, quality=calibrated), weights.folders()[0])
    snapshots = list(stream(burst, settings, device="cpu"))
    assert [s.step for s in snapshots] == [1, 2, 3, 4, 5, 6]  # two rows of each frame, and of the sigmas
    sigma, seen = snapshots[-1].maps["uncertainty"][0], snapshots[-1].images[0]
    np.testing.assert_array_equal(np.isnan(sigma), np.isnan(seen))
    # With hardly any spread sigma is the floor, in the image's unit, which falls with the light.
    quiet = 6e4 * 0.02 * (0.4 + 0.6 * np.clip(seen / 6e4, 0, 1))
    np.testing.assert_allclose(sigma, quiet, rtol=0.05)


@pytest.mark.usefixtures("random_weights")
def test_the_short_psf_has_weights_of_its_own_and_is_observed_again_with_it(random_weights: Path) -> None:
    net, record = weights.load("enhance-continuum-small")
    for name, psf in (("enhance-continuum", "wachter"), ("enhance-continuum-short", "wachter-short")):
        weights.save(net, dataclasses.replace(record, name=name, recipe={"psf": psf}), random_weights)
    burst = Burst.from_array(sun(), HMI)
    one, other = (
        restore(burst, EnhanceSettings(psf=psf), device="cpu") for psf in ("wachter", "wachter-short")
    )
    assert "Weights enhance-continuum-short" in other.messages[0]
    np.testing.assert_array_equal(one.images, other.images)
    seen = reobserved(other.images[0], dataclasses.replace(HMI, psf="wachter-short"))
    np.testing.assert_allclose(other.maps["residual"][0], burst.image(0, 0) - seen, atol=0.01)
    assert np.abs(one.maps["residual"] - other.maps["residual"]).max() > 1
    with pytest.raises(SettingsError, match="no small network for the PSF wachter-short"):
        restore(burst, SMALL.replace(psf="wachter-short"), device="cpu")


def kind(image: np.ndarray, **cards: object) -> str:
    return enhance.kind_of(Burst.from_array(image, HMI, headers=(header(**cards),)), 0, image)


def test_the_kind_is_found_by_header_then_by_sign() -> None:
    field, light = np.array([[-5.0, 3.0], [2.0, -1.0]], np.float32), np.ones((2, 2), np.float32)
    assert (
        kind(light, CONTENT="MAGNETOGRAM")
        == kind(light, BUNIT="Mx/cm^2")
        == kind(light, BUNIT="Gauss")
        == kind(field)
        == "magnetogram"
    )
    assert (
        kind(light, CONTENT="CONTINUUM INTENSITY") == kind(light, BUNIT="DN/s") == kind(light) == "continuum"
    )
    assert enhance.kind_of(Burst.from_array(field, HMI), 0, field) == "magnetogram"
    with pytest.raises(SettingsError, match="is in m/s"):
        kind(field, BUNIT="m/s")


@pytest.mark.usefixtures("random_weights")
def test_pixels_must_be_hmis() -> None:
    burst = Burst.from_array(sun(), dataclasses.replace(HMI, pixel_arcsec=0.059))
    with pytest.raises(
        SettingsError,
        match=r"pixels of 0.059 arcsec; the weights enhance-continuum-small "
        r"are for 0.45 to 0.56",
    ):
        restore(burst, SMALL, device="cpu")


@pytest.mark.usefixtures("random_weights")
def test_weights_of_the_other_kind_are_refused() -> None:
    with pytest.raises(WeightsError, match="are for a magnetogram, but the image seems to be a continuum"):
        restore(
            Burst.from_array(sun(), HMI), EnhanceSettings(weights="enhance-magnetogram-small"), device="cpu"
        )


@pytest.mark.usefixtures("random_weights")
def test_the_limb_is_noticed_and_left_out() -> None:
    size = 100
    disc = {
        "CRPIX1": -30.5,
        "CRPIX2": 50.5,
        "CRVAL1": 900.0,
        "CRVAL2": 0.0,
        "CDELT1": 0.504,
        "CDELT2": 0.504,
        "RSUN_OBS": 960.0,
        "CTYPE1": "HPLN-TAN",
        "CTYPE2": "HPLT-TAN",
        "CUNIT1": "arcsec",
        "CUNIT2": "arcsec",
    }
    mu = enhance.limb_cosine(disc, (size, size))
    assert mu is not None
    image = np.nan_to_num(6e4 * (0.4 + 0.6 * mu)).astype(np.float32)
    restored = restore(Burst.from_array(image, HMI, headers=(header(**disc),)), SMALL, device="cpu")
    assert any("limb darkening was divided out" in text for text in restored.messages)
    np.testing.assert_array_equal(np.isnan(restored.images[0])[::2, ::2], np.isnan(mu))


@pytest.mark.usefixtures("random_weights")
def test_weights_are_named_in_the_messages() -> None:
    sha256 = weights.load("enhance-continuum-small")[1].sha256
    assert (
        f"Weights enhance-continuum-small, sha256 {sha256}."
        in restore(Burst.from_array(sun(), HMI), SMALL, device="cpu").messages
    )


@pytest.mark.usefixtures("random_weights")
def test_the_unsigned_flux_does_not_grow() -> None:
    net, record = weights.load("enhance-magnetogram-small")
    with torch.no_grad():
        net.out.weight *= 200 / net(torch.randn(1, 1, 20, 20)).std()  # an untrained network that exaggerates
    weights.save(net, record, weights.folders()[0])
    burst = Burst.from_array(np.random.default_rng(0).normal(0, 300, (30, 30)).astype(np.float32), HMI)
    free = restore(burst, SMALL, device="cpu")
    kept = restore(burst, SMALL.replace(keep_flux=True), device="cpu")
    before = np.abs(burst.image(0, 0)).mean()
    assert np.abs(free.images).mean() > 1.1 * before
    assert np.abs(kept.images).mean() == pytest.approx(1.029 * before, rel=1e-4)
    np.testing.assert_allclose(
        kept.images / kept.images.std(), free.images / free.images.std(), rtol=1e-3, atol=1e-5
    )
    told = next(text for text in kept.messages if "unsigned flux had grown" in text)
    factor = kept.images.std() / free.images.std()
    assert f"was scaled by {factor:.3f}" in told
    assert (
        f"differs from the input by {kept.losses['reconvolution']:.1%}, unscaled by "
        f"{free.losses['reconvolution']:.1%}" in told
    )
    assert not any("unsigned flux" in text for text in free.messages)
