"""Where a file can be written, and where it is refused."""

import errno
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from heliorestore.errors import RestorationError
from heliorestore.storage import check_folder, check_output, replacing


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.fits")
    return folder / "pipe.fits"


def link_to_fifo(folder: Path) -> Path:
    (folder / "link.fits").symlink_to(fifo(folder))
    return folder / "link.fits"


def device(folder: Path) -> Path:
    return Path("/dev/null")


def loop(folder: Path) -> Path:
    (folder / "loop.fits").symlink_to(folder / "loop.fits")
    return folder / "loop.fits"


def under_a_file(folder: Path) -> Path:
    (folder / "file").write_text("precious")
    return folder / "file" / "out.fits"


def link_into_nowhere(folder: Path) -> Path:
    (folder / "link.fits").symlink_to(folder / "nowhere" / "out.fits")
    return folder / "link.fits"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (fifo, "pipe.fits is a FIFO and not a regular file"),
        (link_to_fifo, "link.fits is a FIFO and not a regular file"),
        (device, "/dev/null is a device and not a regular file"),
        (loop, "loop.fits cannot be written"),
        (under_a_file, "file is not a folder"),
        (link_into_nowhere, "nowhere does not exist: make it first"),
        (lambda folder: folder, "is a folder: give the name of a file in it"),
        (lambda folder: folder / "nowhere" / "out.fits", "nowhere does not exist: make it first"),
        (lambda folder: folder / ("x" * 300 + ".fits"), os.strerror(errno.ENAMETOOLONG)),
        (lambda folder: Path("/proc/out.fits"), "/proc/out.fits cannot be written"),
    ],
    ids=[
        "FIFO",
        "link to a FIFO",
        "device",
        "loop",
        "under a file",
        "link into nowhere",
        "folder",
        "no folder",
        "long name",
        "proc",
    ],
)
def test_what_cannot_become_a_regular_file_is_refused(make, says: str, tmp_path: Path) -> None:
    target = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RestorationError, match=says):
        check_output(target, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_socket_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("out.fits")
        with pytest.raises(RestorationError, match="is a socket and not a regular file"):
            check_output("out.fits", overwrite=True)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_into_which_nothing_can_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    (tmp_path / "out.fits").write_text("precious")
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    for target in ("out.fits", "new.fits"):
        with pytest.raises(RestorationError, match=os.strerror(code)):
            check_output(tmp_path / target, overwrite=True)
    with pytest.raises(RestorationError, match=os.strerror(code)):
        check_folder(tmp_path / "training")


def test_a_regular_file_is_replaced_and_a_dangling_link_filled(tmp_path: Path) -> None:
    regular, dangling = tmp_path / "out.fits", tmp_path / "link.fits"
    regular.write_text("old")
    dangling.symlink_to(tmp_path / "real.fits")
    with pytest.raises(RestorationError, match=r"out\.fits exists: choose another name or allow --overwrite"):
        check_output(regular)
    for target in (check_output(regular, overwrite=True), check_output(dangling)):
        with replacing(target) as file:
            file.write(b"new")
    assert regular.read_text() == (tmp_path / "real.fits").read_text() == "new"
    assert dangling.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.fits", "out.fits", "real.fits"]


def test_an_input_is_refused_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "burst.fits").write_text("precious")
    (tmp_path / "link.fits").symlink_to(tmp_path / "burst.fits")
    for target in ("burst.fits", "link.fits"):
        with pytest.raises(RestorationError, match="is an input and is not overwritten"):
            check_output(
                tmp_path / target, overwrite=True, inputs=[tmp_path / "gone.fits", tmp_path / "burst.fits"]
            )


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("太" * 83 + ".fits")  # 254 bytes
    with replacing(check_output(target)) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) & 0o600 == 0o600


@pytest.mark.parametrize("name", ["file/training", "x" * 300])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(RestorationError):
        check_folder(tmp_path / name)
    assert check_folder(tmp_path / "new" / "training") == tmp_path / "new" / "training"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
