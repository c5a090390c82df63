"""Whatever anybody can edit, edited badly: presets, recipes, plans, nights, ledgers, instruments, maps of
cameras, configurations of redux, records of weights, unfinished runs, sessions, tables of restored files.

Each is used by the command or the function that a user uses, which ends in a result or a sentence.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from build_files import small_snapshot
from heliorestore.batch.ledger import Ledger
from heliorestore.batch.night import Night
from heliorestore.cli import main
from heliorestore.errors import HeliorestoreError
from heliorestore.fits.readback import read_start
from heliorestore.fits.reader import read
from heliorestore.fits.writer import write
from heliorestore.methods.base import load, settings_of
from heliorestore.nets import weights
from heliorestore.preparation import Preparation
from heliorestore.presets import save_preset
from heliorestore.settings import to_rows
from heliorestore.storage import user_folder

MOST_SECONDS = 20  # of the processor
WORDS = (
    "",
    " ",
    "x",
    "nan",
    "-inf",
    "1e999",
    "-1",
    "0",
    "1_0",
    "none",
    "true",
    "../../../etc/passwd",
    "/dev/zero",
    "~nobody-of-that-name/x",
    "\u0000",
    "\u2028",
    "caf\u00e9",
    "a" * 5000,
    "%s%n",
    "{stem}",
    "[[",
    "'",
    '"',
    "\\",
    "${HOME}",
    "9" * 400,
    "1:2:0",
    "NaT",
    "2026-13-45",
    ":",
    ",,,",
    "0:99999999999",
    "\ud7ff",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    10**400,
    1e308,
    5e-324,
    -0.0,
    [],
    {},
    [[]],
    [None],
    {"": 0},
    [1, 2, 3],
    {"a": {"b": []}},
    [0] * 10_000,
)
DEEP = "[" * 100_000


class Hang(BaseException):
    """A case that takes too long; no `except Exception` catches it."""


def attack(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Every case edits one file of one kind."""
    signal.signal(signal.SIGPROF, _hang)
    os.chdir(folder)
    kinds = [kind(folder) for kind in KINDS]
    for name, path, _, use in kinds:
        assert not trouble(use), f"{name} {path} is not sound before it is edited: {trouble(use)}"
    for case in cases:
        rng = random.Random(case)
        name, path, edit, use = kinds[case % len(kinds)]
        before = path.read_bytes()
        path.write_bytes(edit(before, rng))
        wrong = trouble(use)
        if wrong:
            wrong = f"{name}: {wrong}\nof {path.read_bytes()[:300]!r}"
        path.write_bytes(before)
        yield case, wrong


def trouble(use: Callable[[], Any]) -> str:
    """What went wrong, or nothing."""
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = use()
    except HeliorestoreError as error:
        return "" if "\n" not in str(error) else f"not one line: {error}"
    except SystemExit as end:
        status = end.code
    except (Exception, Hang):
        return traceback.format_exc()[-1500:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if status == 1 or "internal error" in err.getvalue():
        return err.getvalue()
    return ""


def _hang(number: int, frame: object) -> None:
    raise Hang


# -- edits ---------------------------------------------------------------------------------------------------


def as_bytes(data: bytes, rng: random.Random) -> bytes:
    """What editors, disks and strangers do to any file."""
    found = bytearray(data)
    at = rng.randrange(len(found) + 1)
    how = rng.randrange(7)
    if how == 0:
        return bytes(found[:at])
    if how == 1:
        return bytes(found[:at] + rng.randbytes(rng.choice((1, 4, 60))) + found[at:])
    if how == 2:
        return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\n" * 1000)) + data
    if how == 3:
        return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"")))
    if how == 4:
        return rng.choice((b"", b"\0" * 100, data * 2, b"PK\x03\x04", b"SIMPLE  =", DEEP.encode()))
    for _ in range(rng.choice((1, 5, 20))):
        if found:
            found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def as_json(data: bytes, rng: random.Random) -> bytes:
    """Other values at other places of a JSON text."""
    if rng.random() < 0.3:
        return as_bytes(data, rng)
    table = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        table = replaced(table, rng)
    text = json.dumps(table)
    if rng.random() < 0.05:
        text = text.replace("0", DEEP, 1)
    return text.encode("utf-8", "replace")


def as_json_lines(data: bytes, rng: random.Random) -> bytes:
    """A line of a ledger edited, doubled, or moved."""
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    how = rng.randrange(4)
    if how == 0:
        lines.insert(rng.randrange(len(lines)), lines[at])
    elif how == 1:
        rng.shuffle(lines)
    else:
        with contextlib.suppress(ValueError):
            lines[at] = as_json(lines[at], rng)
    return b"\n".join(lines) + b"\n"


def replaced(table: Any, rng: random.Random) -> Any:
    """A tree with one of its nodes replaced, or left out."""
    if isinstance(table, (dict, list)) and table and rng.random() < 0.85:
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        key = rng.choice(keys)
        copied = dict(table) if isinstance(table, dict) else list(table)
        if rng.random() < 0.15:
            del copied[key]
        else:
            copied[key] = replaced(table[key], rng)
        return copied
    return rng.choice(WORDS) if rng.random() < 0.5 else rng.choice(VALUES)


def as_toml(data: bytes, rng: random.Random) -> bytes:
    """Other values, names and lines in a TOML file, or any other of lines KEY = VALUE."""
    if rng.random() < 0.3:
        return as_bytes(data, rng)
    lines = data.decode().splitlines()
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines))
        key, equals, _ = lines[at].partition("=")
        how = rng.randrange(6)
        if how == 0:
            del lines[at]
            lines = lines or [""]
        elif how == 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif how == 2:
            lines.insert(
                at, rng.choice(("[x]", "[[x]]", "[settings.x]", "x = 1", "= 1", "x.y.z = 1", "[[burst]]"))
            )
        elif how == 3 and equals:
            lines[at] = f"{key}_{equals} 1"
        elif equals:
            lines[at] = f"{key}{equals} {toml_value(rng)}"
    return "\n".join(lines).encode("utf-8", "replace")


def toml_value(rng: random.Random) -> str:
    if rng.random() < 0.4:
        return json.dumps(rng.choice(WORDS))
    return rng.choice(
        (
            "nan",
            "inf",
            "-inf",
            "1e400",
            "9" * 400,
            "-1",
            "0",
            "1979-05-27",
            "07:32:00",
            "[]",
            "{}",
            "[[]]",
            "{a = 1}",
            "true",
            "0x10",
            "1_000",
            "[1, 'a']",
            "''",
            "'''\n'''",
            DEEP[: rng.choice((10, 5000))],
        )
    )


def as_csv(data: bytes, rng: random.Random) -> bytes:
    """Other cells in a table of commas."""
    if rng.random() < 0.3:
        return as_bytes(data, rng)
    lines = [line.split(",") for line in data.decode().splitlines()]
    for _ in range(rng.choice((1, 2, 4))):
        row = rng.choice(lines)
        if rng.random() < 0.2:
            row.append(rng.choice(WORDS))
        else:
            row[rng.randrange(len(row))] = rng.choice((*WORDS, "files", "name", "frames", "seed"))
    return "\n".join(map(",".join, lines)).encode("utf-8", "replace")


def as_tables(data: bytes, rng: random.Random) -> bytes:
    """Other texts, numbers and cards in the tables of a restored file, written by astropy."""
    out = io.BytesIO()
    with fits.open(io.BytesIO(data)) as hdus:
        for _ in range(rng.choice((1, 1, 2, 4))):
            hdu = rng.choice(hdus)
            table = isinstance(hdu, fits.BinTableHDU) and hdu.data is not None and len(hdu.data)
            if table and rng.random() < 0.7:
                column = rng.choice(hdu.columns.names)
                row = rng.randrange(len(hdu.data))
                with contextlib.suppress(ValueError, TypeError, UnicodeEncodeError, OverflowError):
                    old = hdu.data[column][row]
                    text = isinstance(old, str)
                    hdu.data[column][row] = (
                        rng.choice(WORDS) if text else rng.choice((np.nan, -1, 0, 2**40, 1e300))
                    )
            elif rng.random() < 0.15 and len(hdus) > 1:
                del hdus[rng.randrange(1, len(hdus))]
            else:
                cards = [
                    key for key in hdu.header if key and key not in ("SIMPLE", "XTENSION", "BITPIX", "END")
                ]
                key = rng.choice(cards)
                value = rng.choice(
                    (
                        *(w for w in WORDS if w.isascii() and w.isprintable() and len(w) < 60),
                        -1,
                        0,
                        1e300,
                        True,
                    )
                )
                with contextlib.suppress(ValueError):
                    hdu.header[key] = value
        try:
            hdus.writeto(out, output_verify="ignore", overwrite=True, checksum=bool(rng.randrange(2)))
        except (TypeError, ValueError):  # no program would write that
            return as_bytes(data, rng)
    return out.getvalue()


def as_session(data: bytes, rng: random.Random) -> bytes:
    """The text in a session, or the archive around it: names that lead out of it, links, doubled, packed and
    encrypted parts, images that declare more than there is.
    """
    if rng.random() < 0.2:
        return as_bytes(data, rng)
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w") as new,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of doubled names
        for name in old.namelist():
            content, info, how = old.read(name), zipfile.ZipInfo(name), rng.random()
            if how < 0.5 and name.endswith(".json"):
                content = as_json(content, rng)
            elif how < 0.1:
                content = as_bytes(content, rng)
            elif how < 0.15:
                content = re.sub(rb"(NAXIS[12] += {10,})  (\d+)", rb"\g<1>9\g<2>", content)
            elif how < 0.2:
                info.filename = rng.choice(("../", "/", "C:\\", "results/", "")) + name
            elif how < 0.25:
                info.external_attr, content = 0o120777 << 16, b"/etc/passwd"
            elif how < 0.3:
                info.compress_type, content = zipfile.ZIP_DEFLATED, content + bytes(2**20)
            elif how < 0.35:
                new.writestr(name, content)
            new.writestr(info, content)
    packed = bytearray(out.getvalue())
    if rng.random() < 0.05:
        packed[packed.index(b"PK\x01\x02") + 8] ^= 1 << rng.randrange(8)  # such as: it is encrypted
    return bytes(packed)


Edit = Callable[[bytes, random.Random], bytes]
Kind = tuple[str, Path, Edit, Callable[[], Any]]


# -- the files and what reads them ---------------------------------------------------------------------------


def burst_file(folder: Path) -> Path:
    """A burst of four small frames."""
    path = folder / "observed_burst.fits"
    if not path.exists():
        y, x = np.mgrid[:40, :40]
        frames = (
            1000 + 100 * np.sin(x / 3) * np.cos(y / 4) + np.random.default_rng(1).normal(0, 5, (4, 40, 40))
        )
        header = fits.Header({"TELESCOP": "SST", "INSTRUME": "CRISP", "WAVELNTH": 8542.0, "WAVEUNIT": -10})
        header["CDELT1"], header["CDELT2"], header["CUNIT1"], header["CUNIT2"] = (
            0.058,
            0.058,
            "arcsec",
            "arcsec",
        )
        header["CTYPE1"], header["CTYPE2"] = "HPLN-TAN", "HPLT-TAN"
        fits.PrimaryHDU(frames.astype("f4"), header).writeto(path)
    return path


def a_preset(folder: Path) -> Kind:
    path = save_preset("mine", load("richardson-lucy").settings(iterations=1))
    line = [
        "richardson-lucy",
        str(burst_file(folder)),
        "-o",
        str(folder / "preset.fits"),
        "--overwrite",
        "--quiet",
    ]
    return "preset", path, as_toml, lambda: main([*line, "--preset", str(path)])


def a_recipe(folder: Path) -> Kind:
    from heliorestore.train.denoise import TRAINER
    from heliorestore.train.recipe import bundled, from_table, read_table

    path = folder / "recipe.toml"
    shutil.copy(
        bundled()["denoise-stokes"] if "denoise-stokes" in bundled() else next(iter(bundled().values())), path
    )

    def use() -> int:
        recipe = from_table(TRAINER.recipe, read_table(path))
        assert recipe.rate(0) >= 0
        return 0

    return "recipe", path, as_toml, use


def a_toml_plan(folder: Path) -> Kind:
    path = folder / "plan.toml"
    path.write_text(
        f'[[burst]]\nfiles = "{burst_file(folder)}"\nname = "a.fits"\nframes = "0:2"\niterations = 2\n'
        f'[[burst]]\nfiles = ["{burst_file(folder)}"]\nname = "b.fits"\n'
    )
    return "plan", path, as_toml, lambda: main(["batch", "richardson-lucy", str(path), "--dry-run"])


def a_csv_plan(folder: Path) -> Kind:
    path = folder / "plan.csv"
    path.write_text(
        f"files,name,frames,iterations\n{burst_file(folder)},a.fits,0:2,3\n{burst_file(folder)},b.fits,,\n"
    )
    return "plan.csv", path, as_csv, lambda: main(["batch", "richardson-lucy", str(path), "--dry-run"])


def a_night(folder: Path) -> Path:
    """A night with one burst that is done and one that failed, as far as its files say."""
    night = folder / "night"
    if not night.exists():
        settings = load("richardson-lucy").settings(iterations=1)
        Night.restoring(settings, Preparation()).begin(night)
        ledger = Ledger(night)
        burst = burst_file(folder)
        for name in ("a", "b"):
            facts = {
                "paths": [str(burst)],
                "sizes": [burst.stat().st_size],
                "mtimes_ns": [burst.stat().st_mtime_ns],
            }
            ledger.say("add", name, name=f"{name}.fits", own={}, **facts)
        ledger.refresh()
        for name, end in (("a", "done"), ("b", "failed")):
            number = ledger.attempt(ledger.entries[name])
            ledger.say("progress", name, attempt=number, step=1, total=1)
            ledger.say(
                end,
                name,
                attempt=number,
                reason="none",
                seconds=1.0,
                peak_mb=100,
                name=f"{name}.fits",
                iterations=1,
                contrast_before=0.1,
                contrast_after=0.2,
                memory=False,
            )
            ledger.judge(ledger.entries[name], "kept", "good")
    return night


def a_night_file(folder: Path) -> Kind:
    night = a_night(folder)
    return "night", night / "night.toml", as_toml, lambda: main(["batch", "status", str(night)])


def a_ledger(folder: Path) -> Kind:
    night = a_night(folder)
    (path,) = (night / "ledger").glob("*.jsonl")
    return "ledger", path, as_json_lines, lambda: main(["batch", "status", str(night), "--json"])


def an_attempt(folder: Path) -> Kind:
    night = a_night(folder)
    path = night / "attempts" / "b.1"
    return "attempt", path, as_json, lambda: main(["batch", "status", str(night)])


def an_instrument(folder: Path) -> Kind:
    from heliorestore.own_instruments import save

    path = save("mine", {"diameter_m": 1.0, "wavelength_nm": 630.2, "pixel_arcsec": 0.05, "telescope": "SST"})
    line = [
        "richardson-lucy",
        str(burst_file(folder)),
        "-o",
        str(folder / "i.fits"),
        "--overwrite",
        "--quiet",
    ]

    def use() -> Any:
        main(["instruments"])
        return main([*line, "--instrument", "mine", "--iterations", "1"])

    return "instrument", path, as_toml, use


def a_map(folder: Path) -> Kind:
    from heliorestore.prepare.camera_map import CameraMap, write_map

    path = folder / "map.toml"
    matrix = np.array([[1.01, 0.02, 3.0], [-0.02, 1.01, -2.0], [0.0, 0.0, 1.0]])
    write_map(CameraMap(matrix=matrix, residual_px=0.1, points=20, wide_shape=(40, 40)), path)
    line = [
        "richardson-lucy",
        str(burst_file(folder)),
        "-o",
        str(folder / "m.fits"),
        "--overwrite",
        "--quiet",
    ]
    return "map", path, as_toml, lambda: main([*line, "--register", str(path), "--iterations", "1"])


def a_configuration(folder: Path) -> Kind:
    path = folder / "run.cfg"
    path.write_text(
        "object {\n  WAVELENGTH=854.2e-9\n  channel {\n    IMAGE_DATA_DIR=.\n"
        "    FILENAME_TEMPLATE=observed_burst.fits\n"
        "    ARCSECPERPIX=0.058\n    IMAGE_NUMS=1-4\n  }\n}\n"
        "TELESCOPE_D=0.97\nMODES=2-20\nNUM_POINTS=32\nSIM_X=16,32\n"
    )
    return "configuration", path, as_toml, lambda: main(["info", str(path)])


def a_record(folder: Path) -> Kind:
    name = "denoise-stokes"
    original = weights.find(name)
    own = user_folder("weights")
    own.mkdir(parents=True, exist_ok=True)
    for suffix in (".safetensors", ".json"):
        shutil.copy(original.with_suffix(suffix), own / f"mine{suffix}")

    def use() -> Any:
        weights.names_of("denoiser")
        status = main(["weights", "show", "mine"])
        return status or main(["weights", "check", "mine"])

    return "record of weights", own / "mine.json", as_json, use


def an_unfinished_run(folder: Path) -> Kind:
    from heliorestore.plugin.runs import autosave

    settings = load("sv-momfbd").settings()
    saved, _ = autosave.begin(read(burst_file(folder)), settings)
    assert saved is not None
    saved.state.write_bytes(b"state")
    path = saved.state.with_suffix(".json")
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {"process": [1, 0.0]}))
    state = saved.state

    def use() -> int:
        found = autosave.unfinished("sv-momfbd")
        state.write_bytes(b"state")
        for each in found:
            str(each)
            str(each.restart)
            each.restart.paths()
        return 0

    return "unfinished run", path, as_json, use


def a_session(folder: Path) -> Kind:
    from heliorestore.plugin.npe2.session_file import SavedLayer, Session, read_session, write_session

    layers = (SavedLayer(name="pixels", data=np.ones((8, 9), "f4"), looks={"visible": True, "opacity": 0.5}),)
    panels = ({"method": "richardson-lucy", "settings": to_rows(load("richardson-lucy").settings())},)
    burst = read(burst_file(folder))
    layers += (SavedLayer(name="burst", data=burst.frames, looks={}, record=burst),)
    path = write_session(Session(layers=layers, panels=panels, view={"zoom": 1.0}), folder / "a.heliosession")
    return "session", path, as_session, lambda: read_session(path) and 0


def restored_tables(folder: Path) -> Kind:
    path = write(small_snapshot(folder), folder / "restored.fits")

    def use() -> int:
        found = read(path)
        if getattr(found, "run", None) is not None:
            with contextlib.suppress(HeliorestoreError):
                settings_of(found.run)
        with contextlib.suppress(HeliorestoreError):
            write(found, folder / "again.fits", overwrite=True)
        with contextlib.suppress(HeliorestoreError):
            read_start(path)
        return main(["info", str(path), "--json"])

    return "restored file", path, as_tables, use


def rerun_tables(folder: Path) -> Kind:
    path = folder / "to_rerun.fits"
    line = ["richardson-lucy", str(burst_file(folder)), "-o", str(path), "--iterations", "2", "--quiet"]
    assert main(line) == 0
    again = ["rerun", str(path), "-o", str(folder / "rerun.fits"), "--overwrite", "--quiet"]
    return "file to rerun", path, as_tables, lambda: main(again)


KINDS = (
    a_preset,
    a_recipe,
    a_toml_plan,
    a_csv_plan,
    a_night_file,
    a_ledger,
    an_attempt,
    an_instrument,
    a_map,
    a_configuration,
    a_record,
    an_unfinished_run,
    a_session,
    restored_tables,
    rerun_tables,
)
