"""Plans and configurations: bursts that have something of their own."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from heliorestore.batch.ledger import Entry, Ledger
from heliorestore.batch.night import Night, Wanted, add, bursts_in, open_entry
from heliorestore.batch.plan import read_plan, wanted
from heliorestore.batch.work import Worker
from heliorestore.cli import main
from heliorestore.errors import SettingsError
from heliorestore.fits.reader import read
from heliorestore.preparation import Preparation
from heliorestore.settings import to_rows

PREPARATION = {name: text for name, text, *_ in to_rows(Preparation())}
NIGHT = Night(method="richardson-lucy", settings={"iterations": "2"}, preparation=PREPARATION)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with a series of four images, and one with two single ones."""
    header = fits.Header({"TELESCOP": "SST", "INSTRUME": "CRISP", "WAVELNTH": 630.2, "WAVEUNIT": -9})
    header.update({"CDELT1": 0.059, "CUNIT1": "arcsec"})
    images = np.random.default_rng(0).normal(1000, 30, (4, 24, 24)).astype(np.float32)
    (tmp_path / "scan_0").mkdir()
    fits.writeto(tmp_path / "series.fits", images, header)
    fits.writeto(tmp_path / "dark.fits", np.full((24, 24), 100, np.float32))
    for number in range(2):
        fits.writeto(tmp_path / "scan_0" / f"frame{number}.fits", images[number], header)
    return tmp_path


def entries(ledger: Ledger) -> list[Entry]:
    ledger.refresh()
    return list(ledger.entries.values())


TOML = """
[[burst]]
files = "series.fits"
name = "first.fits"
frames = "0:2"
dark = "dark.fits"
iterations = 3

[[burst]]
files = ["scan_*/*.fits"]
"""
CSV = """files,name,frames,dark,iterations
# what is not given is the night's
series.fits,first.fits,0:2,dark.fits,3

scan_0/frame0.fits; scan_0/frame1.fits,,,,
"""


@pytest.mark.parametrize(("suffix", "text"), [(".toml", TOML), (".csv", CSV)])
def test_a_plan_lists_bursts_with_what_is_their_own(raw: Path, suffix: str, text: str) -> None:
    plan = raw / f"plan{suffix}"
    plan.write_text(text)
    frames = (raw / "scan_0" / "frame0.fits", raw / "scan_0" / "frame1.fits")
    own = {"frames": "0:2", "dark": str(raw / "dark.fits"), "iterations": "3"}
    first, second = read_plan(plan, NIGHT)
    assert (first.paths, first.own, first.name) == ((raw / "series.fits",), own, "first.fits")
    assert second == Wanted(frames, where=f"{plan}, line {9 if suffix == '.toml' else 5}")
    NIGHT.begin(raw / "night")
    ledger = Ledger(raw / "night")
    assert add(ledger, NIGHT, wanted([plan, raw / "series.fits"], NIGHT)) == 3
    assert add(ledger, NIGHT, wanted([plan], NIGHT)) == 0
    one, _, plain = entries(ledger)
    burst = open_entry(NIGHT, one)
    assert burst.frame_numbers == range(2)
    np.testing.assert_allclose(burst.image(0, 0), open_entry(NIGHT, plain).image(0, 0) - 100)
    assert Worker(raw / "night").run() == 3
    steps = {name: read(raw / "night" / name).step for name in ("first.fits", "scan_0_restored.fits")}
    assert steps == {"first.fits": 3, "scan_0_restored.fits": 2}
    # What is changed and has the old name is no second burst of that name.
    plan.write_text(text.replace("3", "4"))
    with pytest.raises(SettingsError, match=r"line \d: first.fits is the name of another burst"):
        add(ledger, NIGHT, wanted([plan], NIGHT))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("absent.fits,,,", "line 3: .*absent.fits does not exist"),
        ("absent*.fits,,,", "line 3: No file is called as in .*absent"),
        (",,,", None),
        (" ,a.fits,,", "line 3: files must name"),
        ("series.fits,a.txt,,", "line 3: 'a.txt' is no name of a FITS file"),
        ("series.fits,../a.fits,,", "line 3: '../a.fits' is no name"),
        ("series.fits,,x,", "line 3: The frames are 'x'"),
        ("series.fits,,,many", "line 3: iterations is 'many'; it must be a whole number"),
        ("series.fits,,,5,6", "line 3: there are 5 cells for 4 columns"),
        ("series.fits,b.fits,,", "line 3: line 2 has the name b.fits too"),
    ],
)
def test_what_is_wrong_in_a_plan_is_said_with_its_line(raw: Path, line: str, said: str | None) -> None:
    plan = raw / "plan.csv"
    plan.write_text(f"files,name,frames,iterations\nseries.fits,b.fits,,\n{line}\n")
    if said is None:
        assert len(read_plan(plan, NIGHT)) == 1
    else:
        with pytest.raises(SettingsError, match=said):
            read_plan(plan, NIGHT)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "file,name\n", "line 1: a plan needs a first line"),
        ("a.csv", "files\n", "lists no burst"),
        ("a.csv", "files,itertions\nseries.fits,3\n", "line 2: .*did you mean iterations"),
        ("a.csv", "files,memory_gb\nseries.fits,3\n", "line 2: a burst has no 'memory_gb'"),
        ("a.csv", "files,dark\nseries.fits,no.fits\n", "line 2: dark .*no.fits does not exist"),
        ("a.toml", "[[burst]]\nfiles = 3\n", "line 1: files must name"),
        ("a.toml", "\n[[burst]]\nfiles = 'series.fits'\nbest = [1]\n", r"line 2: best is \[1\]"),
        ("a.toml", "[[burst]\n", r"cannot be read: .*line 1"),
        ("a.toml", "method = 'momfbd'\n", "has method: it needs a table"),
    ],
)
def test_a_plan_of_another_form_is_refused(raw: Path, name: str, text: str, said: str) -> None:
    (raw / name).write_text(text)
    with pytest.raises(SettingsError, match=said):
        list(wanted([raw / name], NIGHT))


def test_a_configuration_is_a_burst_of_its_files_with_its_own_settings(raw: Path) -> None:
    cfg = raw / "run.cfg"
    cfg.write_text(
        "object { FILENAME_TEMPLATE=scan_0/frame%d.fits\n IMAGE_NUMS=0-1\n DARK_TEMPLATE=dark.fits\n"
        "MODES=2-30\n NUM_POINTS=32 }\n"
    )
    night = Night(method="momfbd", settings={"modes": "30", "patch": "48"}, preparation=PREPARATION)
    files = (cfg, raw / "scan_0" / "frame0.fits", raw / "scan_0" / "frame1.fits", raw / "dark.fits")
    assert list(bursts_in([cfg])) == [files]
    (found,) = wanted([cfg], night)
    default = replace(night, settings={})
    (free,) = wanted([cfg], default)
    assert (found.paths, found.own) == (files, {})
    assert free.own == {"modes": "29", "patch": "32"}
    NIGHT.begin(raw / "night")
    assert add(Ledger(raw / "night"), NIGHT, wanted([cfg], NIGHT)) == 1
    worker = Worker(raw / "night")
    assert worker.run() == 1
    # The files that its record names are those of the entry: after a kill it is known again.
    (entry,) = entries(worker.ledger)
    assert worker._result(entry)["iterations"] == 2
    assert entry.name == "run_restored.fits"
    said = read(raw / "night" / "run_restored.fits").messages
    assert any("Of run.cfg these were not used (MODES" in each for each in said), said
    os.utime(files[1])
    assert main(["batch", "add", str(raw / "night"), str(cfg)]) == 0
    assert len(entries(worker.ledger)) == 2
