"""Weights and checkpoints that a stranger has made: no program in them runs, and all are used or refused in a
sentence.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from edited_files import as_bytes, as_json, burst_file
from forked import forked

from heliorestore.cli import main
from heliorestore.methods.base import load
from heliorestore.nets import weights
from heliorestore.nets.enhance import small

MEMORY = 3 * 2**30
MARK = "executed"  # the file that a program in weights would make


def attack(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Every case makes one file of one kind and uses it as a user does."""
    os.chdir(folder)
    torch.set_num_threads(1)
    burst = burst_file(folder)
    for name in ("mfbd", "sv-momfbd", "denoise"):
        load(name)
    for case in cases:
        rng = random.Random(case)
        for left in (*folder.glob("hostile*"), *folder.glob("used*")):
            left.unlink()
        make = KINDS[case % len(KINDS)]
        torch.manual_seed(case)
        path = make(folder, rng)
        ended = forked(lambda path=path: main(line_of(path, burst)), folder, memory=MEMORY, most_s=90)
        yield case, judged(make.__name__, ended.status, ended.err, folder)


def judged(kind: str, status: int, said: str, folder: Path) -> str:
    """What went wrong, or nothing."""
    wrong = [
        word for word in ("Traceback", "internal error", "weights_only", "WeightsUnpickler") if word in said
    ]
    if (folder / MARK).exists():
        (folder / MARK).unlink()
        wrong.append("a program was executed")
    if status not in (0, 2):
        wrong.append(f"exit status {status}")
    if status == 2 and (not said.strip().splitlines()[-1].startswith("heliorestore") or len(said) > 4000):
        wrong.append("no sentence")
    return f"{kind}: {', '.join(wrong)}: {said[-600:]}" if wrong else ""


def line_of(path: Path, burst: Path) -> list[str]:
    """The command that uses a file of that name."""
    out = ["-o", str(path.with_name("used.fits")), "--overwrite", "--quiet"]
    if path.suffix == ".state":
        small_run = [
            "--modes",
            "4",
            "--psf",
            "16",
            "--patch",
            "32",
            "--iterations",
            "1",
            "--patch-iterations",
            "1",
        ]
        return ["sv-momfbd", str(burst), *out, *small_run, "--checkpoint", str(path)]
    if path.suffix == ".safetensors":
        return ["enhance", str(burst), *out, "--kind", "continuum", "--weights", str(path)]
    return ["weights", "import", str(path), "--as", "imported"]


class Program:
    """What a pickle can carry: a call, made when it is loaded."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self._call = call, arguments

    def __reduce__(self) -> tuple[Any, Any]:
        return self._call


def program(rng: random.Random) -> Any:
    """A program that leaves its mark where it runs."""
    text = f"open({MARK!r}, 'w').close()"
    return rng.choice(
        (
            Program(os.system, f"touch {MARK}"),
            Program(eval, text),
            Program(exec, text),
            Program(open, MARK, "w"),
            Program(functools.partial(os.mkdir, MARK)),
            Program(pickle.loads, b"cos\nsystem\n(S'touch executed'\ntR."),
            Program(__import__, "antigravity"),
        )
    )


def a_program(folder: Path, rng: random.Random) -> Path:
    """A program beside, in the place of, or among tensors."""
    found = program(rng)
    state: dict[str, Any] = {"A01.conv.weight": torch.ones(3, 7, 3, 3)}
    content = rng.choice(
        (found, {"state_dict": found}, {"state_dict": state, "epoch": found}, [found], {found.__class__: 1})
    )
    path = folder / rng.choice(
        ("hostile.pth", "hostile.pt", "hostile.pth.tar", "hostile.ckpt", "hostile.state")
    )
    if rng.random() < 0.3:
        path.write_bytes(pickle.dumps(content, protocol=rng.choice((0, 2, 4))))
    else:
        torch.save(
            content,
            path,
            _use_new_zipfile_serialization=rng.random() < 0.6,
            pickle_protocol=rng.choice((2, 4)),
        )
    return path


def a_damaged_checkpoint(folder: Path, rng: random.Random) -> Path:
    out = io.BytesIO()
    torch.save({"state_dict": small().state_dict()}, out, _use_new_zipfile_serialization=rng.random() < 0.5)
    path = folder / rng.choice(("hostile.pth", "hostile.state"))
    path.write_bytes(as_bytes(out.getvalue(), rng))
    return path


def strange_tensors(folder: Path, rng: random.Random) -> Path:
    """Tensors of other shapes, kinds and sizes than they seem."""
    shape = rng.choice(
        ((10**9,), (10**5, 10**5), (0,), (), (64, 10**6, 3, 3), (64, 7, 3, 3), (64, 999, 3, 3))
    )
    tensor = rng.choice(
        (
            torch.zeros(1).expand(*shape) if shape else torch.zeros(()),
            torch.empty(shape if np.prod(shape) < 1e7 else (3,), dtype=torch.complex64),
            torch.eye(3).to_sparse(),
            torch.ones(3, dtype=torch.float8_e4m3fn),
            torch.full((64, 7, 3, 3), float("nan")),
            "no tensor",
        )
    )
    path = folder / "hostile.pth"
    names = rng.choice((("A01.conv.weight",), ("",), ("a" * 10**5,), tuple(f"n{n}" for n in range(10_000))))
    torch.save(dict.fromkeys(names, tensor), path)
    return path


def a_foreign_state(folder: Path, rng: random.Random) -> Path:
    """A checkpoint of a run whose texts, tables and tensors are of another kind."""
    path = folder / "hostile.state"
    good = {"key": "0" * 64, "state": {"step": 1}, "history": {"step": torch.ones(3)}}
    content = rng.choice(
        (
            good,
            [],
            {},
            {"key": 1},
            {"key": None, "state": None},
            good | {"state": []},
            good | {"history": 5},
            torch.ones(3),
            good | {"state": {"a": {"b": torch.zeros(1).expand(10**9)}}},
        )
    )
    torch.save(content, path)
    return path


def an_archive(folder: Path, rng: random.Random) -> Path:
    """An archive as torch's, whose parts are more than they seem."""
    path = folder / "hostile.pt"
    with zipfile.ZipFile(path, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        archive.writestr(
            "archive/data.pkl", rng.choice((b"", pickle.dumps({}, 2), b"\x80\x02]" + b"]" * 50_000 + b"."))
        )
        archive.writestr("archive/version", rng.choice((b"3\n", b"x", b"9" * 1000)))
        archive.writestr(
            rng.choice(("archive/data/0", "../../escaped", "/tmp/escaped")), b"\0" * rng.choice((8, 10**7))
        )
    return path


def keras(folder: Path, rng: random.Random) -> Path:
    """HDF5 with shapes without data, loops of links, and attributes of another type."""
    path = folder / rng.choice(("hostile.h5", "hostile.hdf5", "hostile.keras"))
    with h5py.File(path, "w") as file:
        names: Any = [b"conv2d_1", b"conv2d_2"]
        file.attrs["layer_names"] = rng.choice(
            (
                names,
                [b"conv2d_1"],
                5,
                1.5,
                "conv2d_1",
                [b"\xff"],
                [b".."],
                [b"/"],
                [b"nowhere"],
                np.zeros(3),
                [b"conv2d_1"] * 500,
            )
        )
        group = file.create_group("conv2d_1")
        group.attrs["weight_names"] = rng.choice(
            (
                [b"conv2d_1/kernel:0", b"conv2d_1/bias:0"],
                [b"kernel:0"],
                [b"loop/kernel:0"],
                7,
                [b"/"],
                [b"kernel:0"] * 3000,
            )
        )
        shape = rng.choice(((10**5, 10**5, 10, 10), (10**9,), (3, 3, 1, 32), (), (0,)))
        dtype: Any = rng.choice(("f4", "f8", "S10", "i8", h5py.ref_dtype, np.dtype([("a", "f4")])))
        chunks = tuple(min(n, 10) for n in shape) if shape and min(shape) else None
        outside = rng.random() < 0.1
        for name in ("kernel:0", "bias:0"):
            if outside:
                made = group.create_dataset(
                    name, (3,), "u1", external=[(rng.choice(("/dev/zero", "/etc/passwd")), 0, 3)]
                )
            else:
                made = group.create_dataset(
                    name, shape, dtype, chunks=chunks if np.prod(shape) > 1e6 else None
                )
            group.attrs[name] = made.ref
        group["loop"] = h5py.SoftLink(rng.choice(("/conv2d_1/loop", "/conv2d_1", "/nothing")))
        group["conv2d_1"] = rng.choice(
            (h5py.ExternalLink("/etc/passwd", "/"), h5py.ExternalLink(str(path), "/conv2d_1"), group)
        )
        if rng.random() < 0.3:
            file.create_dataset("conv2d_2", data=np.ones(3))
    if rng.random() < 0.3:
        path.write_bytes(as_bytes(path.read_bytes(), rng))
    return path


def safetensors(folder: Path, rng: random.Random) -> Path:
    """A file of safetensors that lies about itself, beside a record with the right checksum."""
    path = folder / "hostile.safetensors"
    net = small()
    if rng.random() < 0.3:
        with torch.no_grad():
            next(net.parameters()).flatten()[0] = rng.choice((float("nan"), float("inf"), 1e38))
    record = weights.WeightsRecord(name="hostile", architecture="enhance-small", kind="continuum")
    weights.save(net, record, folder)
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + size], content[8 + size :]
    how = rng.randrange(4)
    if how == 0:
        header = as_json(header, rng)
        content = struct.pack("<Q", len(header)) + header + data
    elif how == 1:
        content = struct.pack("<Q", rng.choice((0, 2**63, 2**40, len(content)))) + header + data
    elif how == 2:
        content = as_bytes(content, rng)
    path.write_bytes(content)
    beside = path.with_suffix(".json")
    table = json.loads(beside.read_bytes()) | {"sha256": hashlib.sha256(content).hexdigest()}
    beside.write_text(json.dumps(table))
    if rng.random() < 0.5:
        beside.write_bytes(as_json(beside.read_bytes(), rng))
    elif rng.random() < 0.2:
        absurd = rng.choice(
            ("mfbd:999999999", "os:system", "enhance:7", "../x", "", "mfbd:999", "denoiser", "emulator")
        )
        beside.write_text(json.dumps(table | {"architecture": absurd}))
    return path


KINDS = (
    a_program,
    a_program,
    a_damaged_checkpoint,
    strange_tensors,
    a_foreign_state,
    an_archive,
    keras,
    keras,
    keras,
    safetensors,
    safetensors,
    safetensors,
)
