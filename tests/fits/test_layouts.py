import itertools
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliorestore.errors import BurstError
from heliorestore.fits.axes import Axes, axes_of, object_labels
from heliorestore.fits.hdus import Image, parse_cards
from heliorestore.fits.layouts import (
    LAYOUTS,
    date_of,
    frame_times,
    in_order,
    natural,
    parse_time,
    plan_file,
    plan_files,
)


def image(*shape, name="a.fits", number=0, **cards):
    return Image(
        path=Path(name), number=number, cards={k.replace("_", "-"): v for k, v in cards.items()}, shape=shape
    )


@pytest.mark.parametrize(
    ("shape", "layout", "burst"),
    [
        ((5, 6), "image", (1, 1, 5, 6)),
        ((4, 5, 6), "frames", (1, 4, 5, 6)),
        ((1, 5, 6), "image", (1, 1, 5, 6)),
        ((3, 4, 5, 6), "objects", (3, 4, 5, 6)),
        ((3, 1, 5, 6), "objects", (3, 1, 5, 6)),
        ((1, 4, 5, 6), "frames", (1, 4, 5, 6)),
        ((1, 3, 4, 5, 6), "objects", (3, 4, 5, 6)),
        ((3, 1, 4, 5, 6), "objects", (3, 4, 5, 6)),
        ((1, 1, 1, 5, 6), "image", (1, 1, 5, 6)),
    ],
)
def test_axes_without_names_are_object_frame_y_x(shape, layout, burst):
    plan = plan_file([image(*shape)])
    assert plan.layout == layout
    assert plan.shape == burst
    assert layout in LAYOUTS


def test_five_long_axes_without_names_are_refused_with_the_shape():
    with pytest.raises(BurstError, match=r"a\.fits.*\(2, 3, 4, 5, 6\).*CTYPE"):
        plan_file([image(2, 3, 4, 5, 6)])


@given(
    order=st.permutations(["x", "y", "wave", "stokes", "time"]),
    absent=st.sets(st.sampled_from(["wave", "stokes", "time"]), max_size=2),
)
def test_named_axes_are_found_in_any_order(order, absent):
    sizes = {"x": 7, "y": 6, "wave": 4, "stokes": 3, "time": 5}
    ctypes = {"x": "HPLN-TAN", "y": "HPLT-TAN", "wave": "AWAV", "stokes": "STOKES", "time": "UTC"}
    names = [name for name in order if name not in absent]
    cards = {f"CTYPE{len(names) - axis}": ctypes[name] for axis, name in enumerate(names)}
    axes = axes_of(Image(path=Path("a"), cards=cards, shape=tuple(sizes[name] for name in names)))
    assert names[axes.x] == "x"
    assert names[axes.y] == "y"
    assert axes.frame == (names.index("time") if "time" in names else None)
    assert [names[axis] for axis in axes.objects] == [name for name in names if name in ("wave", "stokes")]


def test_two_axes_that_nobody_names_are_too_many_beside_time():
    with pytest.raises(BurstError, match=r"unnamed.*more axes than wavelength, Stokes, time, y and x"):
        axes_of(image(2, 3, 4, 5, 6, CTYPE5="TIME", CTYPE3="WEIRD"))


def test_a_third_sky_axis_without_time_is_the_frame():
    assert axes_of(image(3, 4, 5, 6, CTYPE4="WAVE")) == Axes(2, 3, 1, (0,), named=True)


def test_the_axis_of_latitude_is_y_whatever_its_place():
    axes = axes_of(image(3, 4, 9, CTYPE1="WAVE", CTYPE2="HPLT-TAN", CTYPE3="HPLN-TAN"))
    assert (axes.y, axes.x, axes.objects) == (1, 0, (2,))


def test_labels_tell_wavelength_and_stokes():
    cube = image(
        2,
        3,
        5,
        6,
        CTYPE4="STOKES",
        CRVAL4=1,
        CRPIX4=1,
        CDELT4=1,
        CTYPE3="WAVE",
        CRVAL3=6301.5,
        CRPIX3=1,
        CDELT3=0.1,
        CUNIT3="Angstrom",
    )
    labels = object_labels(cube, axes_of(cube), {})
    assert [label for label, _ in labels[:3]] == ["630.15 nm, I", "630.16 nm, I", "630.17 nm, I"]
    assert labels[3] == ("630.15 nm, Q", 630.15)


def test_labels_have_the_digits_that_tell_them_apart():
    cube = image(3, 5, 6, CTYPE3="WAVE", CRVAL3=854.2, CRPIX3=2, CDELT3=0.001, CUNIT3="nm")
    assert [label for label, _ in object_labels(cube, axes_of(cube), {})] == [
        "854.199 nm",
        "854.200 nm",
        "854.201 nm",
    ]


def test_tabulated_wavelengths_are_taken_from_the_table():
    cube = image(2, 5, 6, CTYPE3="WAVE-TAB", CUNIT3="nm")
    labels = object_labels(cube, axes_of(cube), {3: np.array([393.3, 393.5])})
    assert [label for label, _ in labels] == ["393.30 nm", "393.50 nm"]
    assert object_labels(cube, axes_of(cube), {})[0] == ("wavelength 0", None)


# -- extensions


def extension(number, *shape, **cards):
    return image(*shape, number=number, **cards)


def test_extensions_of_one_shape_are_frames():
    plan = plan_file([extension(n, 5, 6, EXTNAME=f"FRAME{n}") for n in range(1, 5)])
    assert (plan.layout, plan.shape, plan.labels) == ("extensions", (1, 4, 5, 6), ("",))


@pytest.mark.parametrize(
    "names", [["WB", "NB"] * 3, ["WB_0", "NB_0", "WB_1", "NB_1"], ["WB", "WB", "NB", "NB"], ["WB", "NB"]]
)
def test_channels_by_extname_become_objects(names):
    plan = plan_file([extension(n, 5, 6, EXTNAME=name) for n, name in enumerate(names, 1)])
    assert plan.shape == (2, len(names) // 2, 5, 6)
    assert plan.labels == ("WB", "NB")
    numbers = [[piece.image.number for piece in group] for group in plan.groups]
    assert numbers == [
        [n for n, name in enumerate(names, 1) if name.startswith(channel)] for channel in ("WB", "NB")
    ]


def test_channels_by_a_camera_keyword_become_objects():
    plan = plan_file([extension(n, 5, 6, CAMERA="left" if n % 2 else "right") for n in range(1, 7)])
    assert (plan.shape, plan.labels) == ((2, 3, 5, 6), ("left", "right"))


def test_a_channel_with_a_frame_less_is_refused_with_both_numbers():
    with pytest.raises(BurstError, match="2 of WB, 1 of NB"):
        plan_file([extension(n, 5, 6, EXTNAME=name) for n, name in enumerate(["WB", "NB", "WB"], 1)])


def test_extensions_of_different_shapes_are_refused_with_both():
    with pytest.raises(BurstError, match=r"\(5, 6\) in HDU 1 and \(5, 7\) in HDU 2"):
        plan_file([extension(1, 5, 6), extension(2, 5, 7)])


def test_a_primary_image_counts_before_extensions_of_other_shapes():
    assert plan_file([extension(0, 4, 5, 6), extension(1, 4, 9)]).shape == (1, 4, 5, 6)


def test_error_and_mask_extensions_are_no_frames():
    plan = plan_file(
        [
            extension(1, 5, 6, EXTNAME="SCI"),
            extension(2, 5, 6, EXTNAME="ERR"),
            extension(3, 5, 6, EXTNAME="DQ"),
        ]
    )
    assert plan.shape == (1, 1, 5, 6)


def test_images_without_pixels_are_named():
    with pytest.raises(BurstError, match=r"only HDU 0 of shape \(0, 6\)"):
        plan_file([image(0, 6)])
    with pytest.raises(BurstError, match=r"at least two axes.*HDU 0 of shape \(7,\)"):
        plan_file([image(7)])


# -- files


def files(*cards, names=None):
    names = names or [f"f{n}.fits" for n in range(len(cards))]
    return plan_files(
        [plan_file([image(5, 6, name=name, **c)]) for name, c in zip(names, cards, strict=True)]
    )


def order(plan):
    return [[piece.image.path.name for piece in group] for group in plan.groups]


def test_files_are_ordered_by_their_dates():
    plan = files(
        {"DATE_OBS": "2026-05-01T08:00:02"},
        {"DATE_OBS": "2026-05-01T08:00:00"},
        {"DATE_BEG": "2026-05-01T08:00:01"},
    )
    assert plan.layout == "files"
    assert order(plan) == [["f1.fits", "f2.fits", "f0.fits"]]


def test_files_without_dates_are_ordered_by_their_frame_numbers():
    assert order(files({"FRAMENUM": 7}, {"FRAMENUM": 10}, {"FRAMENUM": 2})) == [
        ["f2.fits", "f0.fits", "f1.fits"]
    ]


def test_files_of_one_date_are_ordered_by_their_frame_numbers():
    day = {"DATE_OBS": "2026-05-01"}
    assert order(files({**day, "FRAMENUM": 7}, {**day, "FRAMENUM": 2})) == [["f1.fits", "f0.fits"]]


def test_files_that_tell_nothing_are_ordered_by_natural_names():
    plan = files({}, {}, {}, names=["b10.fits", "b9.fits", "a11.fits"])
    assert order(plan) == [["a11.fits", "b9.fits", "b10.fits"]]


def test_files_with_dates_here_and_there_are_ordered_by_names():
    assert order(files({"DATE_OBS": "2026-05-02"}, {}, {"DATE_OBS": "2026-05-01"})) == [
        ["f0.fits", "f1.fits", "f2.fits"]
    ]


@pytest.mark.parametrize("key", ["INSTRUME", "WAVELNTH", "CAMERA", "DETECTOR"])
def test_files_of_other_cameras_are_objects(key):
    plan = files(*({key: value} for value in ("one", "two", "one", "two")))
    assert (plan.shape, plan.labels) == ((2, 2, 5, 6), ("one", "two"))


def test_cubes_of_two_cameras_are_two_objects():
    plan = plan_files([plan_file([image(4, 5, 6, name=f"{c}.fits", CAMERA=c)]) for c in ("nb", "wb")])
    assert plan.shape == (2, 4, 5, 6)
    assert plan.find(1, 3)[0].image.path.name == "wb.fits"
    assert plan.find(1, 3)[1:] == (0, 3)


def test_cubes_of_one_camera_follow_each_other():
    plan = plan_files([plan_file([image(n, 5, 6, name=f"{n}.fits", CAMERA="a")]) for n in (2, 3)])
    assert plan.shape == (1, 5, 5, 6)
    assert [(plan.find(0, f)[0].image.path.name, plan.find(0, f)[2]) for f in range(5)] == [
        ("2.fits", 0), ("2.fits", 1), ("3.fits", 0), ("3.fits", 1), ("3.fits", 2),
    ]  # fmt: skip


def test_files_of_different_shapes_are_refused_with_both():
    with pytest.raises(BurstError, match=r"one\.fits has \(5, 6\) and two\.fits \(5, 7\)"):
        plan_files([plan_file([image(5, 6, name="one.fits")]), plan_file([image(5, 7, name="two.fits")])])


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=8, unique=True))
def test_natural_order_counts_as_people_do(numbers):
    names = [f"cam_{n}.fits" for n in numbers]
    assert sorted(names, key=natural) == [f"cam_{n}.fits" for n in sorted(numbers)]


def test_equal_ranks_keep_the_order_of_names():
    groups = [plan_file([image(5, 6, name=f"f{n}")]).groups[0] for n in range(3)]
    assert in_order(groups) == groups


# -- times


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2022-02-25T19:58:59.000", datetime(2022, 2, 25, 19, 58, 59)),
        ("2022-02-25T19:58:59Z", datetime(2022, 2, 25, 19, 58, 59)),
        ("2022-02-25T19:58:59+02:00", datetime(2022, 2, 25, 17, 58, 59)),
        ("2022-02-25T19:58:59.123456789", datetime(2022, 2, 25, 19, 58, 59, 123456)),
        ("2014.03.01_00:01:25_TAI", datetime(2014, 3, 1, 0, 0, 50)),
        ("2022/02/25 19:58:59", datetime(2022, 2, 25, 19, 58, 59)),
        ("2022-02-25", datetime(2022, 2, 25)),
        ("yesterday", None),
        ("", None),
        (None, None),
        (20220225, None),
    ],
)
def test_times_as_headers_write_them(text, time):
    assert parse_time(text) == time


def test_tai_is_corrected_with_the_leap_seconds_of_its_date():
    assert parse_time("2018-01-01T00:00:37", "TAI") == datetime(2018, 1, 1)
    assert parse_time("2013-01-01T00:00:35", "TAI") == datetime(2013, 1, 1)


@pytest.mark.parametrize(
    ("year", "month", "seconds"),
    [
        (1972, 1, 10),
        (1980, 1, 19),
        (1996, 1, 30),
        (1999, 1, 32),
        (2003, 11, 32),
        (2006, 1, 33),
        (2009, 1, 34),
        (2017, 1, 37),
    ],
)
def test_the_leap_seconds_are_those_of_bulletin_c(year, month, seconds):
    utc = datetime(year, month, 1, 12, 0, 0, 250000)
    assert parse_time((utc + timedelta(seconds=seconds)).isoformat(), "TAI") == utc
    assert parse_time((utc + timedelta(seconds=seconds + 32.184)).isoformat() + "_TT") == utc


def test_a_leap_second_itself_is_the_second_after_it():
    assert parse_time("2017-01-01T00:00:36.500", "TAI") == datetime(2017, 1, 1, 0, 0, 0, 500000)


def test_old_headers_have_the_hour_in_a_card_of_its_own():
    assert date_of({"DATE-OBS": "2001-05-01", "TIME-OBS": "08:30:00"}) == datetime(2001, 5, 1, 8, 30)


def test_a_time_axis_gives_every_frame_its_time():
    cube = image(
        3,
        5,
        6,
        CTYPE3="UTC",
        CUNIT3="s",
        CRVAL3=10.0,
        CRPIX3=1,
        CDELT3=2.5,
        CTYPE1="HPLN-TAN",
        DATEREF="2026-05-01T08:00:00",
        DATE_BEG="2026-05-01T08:00:09",
    )
    piece = plan_file([cube]).pieces[0]
    assert [str(t)[11:21] for t in frame_times(piece, {})] == ["08:00:10.0", "08:00:12.5", "08:00:15.0"]


def test_a_time_axis_without_reference_counts_from_the_header_date():
    cube = image(
        3,
        5,
        6,
        CTYPE3="Time",
        CUNIT3="seconds",
        CRVAL3=999.0,
        CRPIX3=5,
        CDELT3=2,
        DATE_OBS="2026-05-01T08:00:00",
    )
    piece = plan_file([cube]).pieces[0]
    assert [str(t)[17:19] for t in frame_times(piece, {})] == ["00", "02", "04"]


def test_a_cube_without_time_axis_knows_the_time_of_its_first_frame():
    times = frame_times(plan_file([image(3, 5, 6, DATE_OBS="2026-05-01T08:00:00")]).pieces[0], {})
    assert list(np.isnat(times)) == [False, True, True]


# -- cards


def test_cards_are_read_as_fits_writes_them():
    lines = [
        "A       =                   12 / a",
        "B       = 'it''s / fine ' / b",
        "C       =              1.5D-3",
        "D       =  T",
        "E       =",
        "F       = 1_000",
        "A       =  99",
        "COMMENT A       = 5",
        "G       = 'open",
    ]
    cards = parse_cards("".join(line.ljust(80) for line in lines))
    assert cards == {"A": 12, "B": "it's / fine", "C": 1.5e-3, "D": True, "E": None, "F": None, "G": None}


@given(st.text(max_size=400))
def test_any_text_has_cards(text):
    assert all(isinstance(key, str) for key in parse_cards(text))


def test_every_key_of_a_plan_is_used_once():
    cube = image(2, 3, 4, 5, 6, CTYPE5="STOKES", CTYPE4="TIME", CTYPE3="WAVE")
    plan = plan_file([cube])
    objects, frames = plan.shape[:2]
    keys = {
        plan.find(o, f)[0].key(*plan.find(o, f)[1:], slice(None), slice(None))[:3]
        for o, f in itertools.product(range(objects), range(frames))
    }
    assert keys == set(itertools.product(range(2), range(3), range(4)))


def test_the_time_system_of_a_header_holds_for_all_its_times():
    cards = {"TIMESYS": "TAI", "DATE-OBS": "2026-05-01", "TIME-OBS": "08:00:37"}
    assert date_of(cards) == datetime(2026, 5, 1, 8)
    axis = {"CTYPE3": "TIME", "CUNIT3": "s", "CRVAL3": 10.0, "CRPIX3": 1, "CDELT3": 2.5}
    cube = image(3, 5, 6, TIMESYS="TAI", DATEREF="2026-05-01T08:00:37", **axis)
    times = frame_times(plan_file([cube]).pieces[0], {})
    assert [str(t)[11:21] for t in times] == ["08:00:10.0", "08:00:12.5", "08:00:15.0"]
