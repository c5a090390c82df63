"""NDCubes and DKIST's datasets: what the burst says is compared with what their own coordinates say."""

import dataclasses
import gzip
from pathlib import Path

import asdf
import astropy.units as u
import dkist.data.test
import numpy as np
import pytest
from dkist import Dataset, TiledDataset, load_dataset
from ndcube import NDCube

from heliorestore import from_dkist, from_ndcube, to_map, to_ndcube
from heliorestore.errors import BurstError
from observatory_files import BEGAN, drifting, vbi
from turned_burst import COLUMNS, ROWS, burst, corners, result


def test_a_result_as_a_cube_lies_where_its_maps_do_and_comes_back() -> None:
    made = burst(objects=3)
    shown = to_ndcube(result(made))
    theirs = to_map(result(made))
    assert shown.data.shape == (3, 2 * ROWS, 2 * COLUMNS)
    assert shown.unit == theirs.unit
    assert shown.uncertainty.array.shape == shown.data.shape
    sky = shown.wcs.pixel_to_world([0, 59], [0, 47], [0, 0])[0]
    want = theirs.pixel_to_world([0, 59] * u.pix, [0, 47] * u.pix)
    assert want.separation(sky).max() < 1e-6 * u.arcsec
    assert shown.meta["labels"] == ["I", "Q", "U"]
    again = from_ndcube(shown)
    assert again.shape == (3, 1, 2 * ROWS, 2 * COLUMNS)
    assert again.labels == ("I", "Q", "U")
    np.testing.assert_array_equal(again.frames[:, 0], shown.data)
    np.testing.assert_allclose(corners(to_map(again), 2), corners(theirs, 2), rtol=0, atol=1e-6)
    assert from_ndcube(shown[1:3, :, 8:20]).shape == (2, 1, 2 * ROWS, 12)
    assert again.instruments[0].name == "SDO/HMI 6173"
    assert again.instruments[0].pixel_arcsec == pytest.approx(0.252)


def test_masks_and_wavelengths_are_kept() -> None:
    made = burst(objects=3)
    unevenly = [dataclasses.replace(made.instruments[0], wavelength_nm=w) for w in (617.30, 617.33, 617.40)]
    shown = to_ndcube(dataclasses.replace(made, instruments=tuple(unevenly), unit="I/Ic"))
    assert shown.mask.sum() == 1
    again = from_ndcube(shown)
    assert np.isnan(again.image(0, 0)[3, 4])
    assert again.unit == "I/Ic"  # for which astropy has no unit
    assert shown.unit is None
    assert [each.wavelength_nm for each in again.instruments] == [617.30, 617.33, 617.40]
    assert list(shown.extra_coords.keys()) == ["wavelength"]
    waves = to_ndcube(burst())  # a single one is an axis of wavelength
    assert waves.wcs.pixel_to_world(0, 0, 0)[1].to_value("nm") == pytest.approx(617.3)
    with pytest.raises(BurstError, match="A ndarray is no cube"):
        from_ndcube(np.ones(3))


def test_a_dataset_of_vbi_is_a_lazy_burst_where_its_coordinates_say(tmp_path: Path) -> None:
    # as a file, as dkist's own tests write them
    asdf.AsdfFile({"wcs": drifting(4, (20, 24))}).write_to(tmp_path / "wcs.asdf")
    read: list[int] = []
    made_here = vbi(read=read)
    with asdf.open(tmp_path / "wcs.asdf", lazy_load=False, memmap=False) as file:
        dataset = Dataset(made_here.data, wcs=file["wcs"], meta=made_here.meta, unit=u.count)
    made = from_dkist(dataset)
    assert made.shape == (1, 4, 20, 24)
    assert not read
    np.testing.assert_array_equal(made.image(0, 2), made.image(0, 0) + 2)
    assert read == [2, 0]
    vbi_4305 = made.instruments[0]
    assert (vbi_4305.name, vbi_4305.diameter_m, made.unit) == ("DKIST/VBI 4305", 4.0, "ct")
    assert vbi_4305.pixel_arcsec == pytest.approx(0.0106, rel=1e-6)
    assert made.times[0] == np.datetime64(BEGAN.isot)
    assert made.times[3] - made.times[0] == np.timedelta64(9, "s")
    x, y = np.array([0, 23, 0, 23]), np.array([0, 0, 19, 19])
    for frame in range(4):
        theirs = dataset.wcs.pixel_to_world(x, y, np.full(4, frame))[0]
        ours = to_map(made, frame=frame).pixel_to_world(x * u.pix, y * u.pix)
        np.testing.assert_allclose(ours.Tx.arcsec, theirs.Tx.arcsec, rtol=0, atol=1e-6)
        np.testing.assert_allclose(ours.Ty.arcsec, theirs.Ty.arcsec, rtol=0, atol=1e-6)
    part = from_dkist(dataset[1:3, 2:18])
    np.testing.assert_array_equal(part.times, made.times[1:3])
    place = to_map(part).pixel_to_world(0 * u.pix, 0 * u.pix)
    assert place.separation(to_map(made, frame=1).pixel_to_world(0 * u.pix, 2 * u.pix)) < 1e-6 * u.arcsec
    cube = from_ndcube(NDCube(np.ones((4, 20, 24), np.float32), wcs=dataset.wcs))
    np.testing.assert_allclose(cube.pointing, made.pointing)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The datasets that dkist brings for its own tests: a mosaic of the VBI and a raster of the ViSP."""
    folder = tmp_path_factory.mktemp("dkist")
    found = {}
    for name in ("large_vbi", "large_visp"):
        with gzip.open(Path(dkist.data.test.rootdir) / f"{name}.asdf.gz") as packed:
            (folder / f"{name}.asdf").write_bytes(packed.read())
        found[name] = load_dataset(folder / f"{name}.asdf")
    return found


def test_a_tile_of_a_mosaic_is_a_burst_and_what_is_no_image_is_refused(packaged: dict[str, object]) -> None:
    mosaic = packaged["large_vbi"]
    assert isinstance(mosaic, TiledDataset)
    with pytest.raises(BurstError, match=r"mosaic of 3 x 3 tiles.*dataset\[0, 0\]"):
        from_dkist(mosaic)
    tile = mosaic[1, 1]
    made = from_dkist(tile)
    assert made.shape[2:] == tile.data.shape[-2:]
    assert made.instruments[0].name.startswith("DKIST/VBI")
    assert not made.instruments[0].unknown
    rows, columns = made.shape[2:]
    ends = [np.array([0.0, columns - 1, 0.0, columns - 1]), np.array([0.0, 0.0, rows - 1, rows - 1])]
    rest = [np.zeros(4)] * (tile.wcs.pixel_n_dim - 2)
    world = tile.wcs.pixel_to_world(*ends, *rest)
    theirs = world[0] if isinstance(world, (list, tuple)) else world
    ours = to_map(made).pixel_to_world(*(each * u.pix for each in ends))
    np.testing.assert_allclose(ours.Tx.arcsec, theirs.Tx.arcsec, rtol=0, atol=1e-3)
    np.testing.assert_allclose(ours.Ty.arcsec, theirs.Ty.arcsec, rtol=0, atol=1e-3)
    with pytest.raises(BurstError, match="a spectrograph's raster is no series of images"):
        from_dkist(packaged["large_visp"])
    with pytest.raises(BurstError, match="A list is no dataset of images"):
        from_dkist([])
