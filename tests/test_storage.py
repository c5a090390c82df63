"""Where a file can be written, and where it is refused."""

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import platformdirs
import pytest

from heliorestore import storage
from heliorestore.errors import HeliorestoreError, RestorationError
from heliorestore.fits.reader import read
from heliorestore.fits.writer import write as write_result
from heliorestore.nets.weights import load
from heliorestore.prepare.camera_map import read_map
from heliorestore.prepare.opening import reopen
from heliorestore.snapshot import Snapshot
from heliorestore.storage import (
    at_home,
    atomic_write,
    check_folder,
    check_output,
    locked,
    replacing,
    user_folder,
)


def test_a_name_that_no_file_has_is_one_sentence() -> None:
    with pytest.raises(RestorationError, match="cannot be written"):
        check_output("a\0b.fits")


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
        (link_into_nowhere, "nowhere does not exist: create it first"),
        (lambda folder: folder, "is a folder: give the name of a file in it"),
        (lambda folder: folder / "nowhere" / "out.fits", "nowhere does not exist: create it first"),
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


# -- whole or not at all

posix = pytest.mark.skipif(os.name == "nt", reason="Windows knows no such permissions, signals or processes")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, content: bytes = b"new") -> None:
    with atomic_write(path) as file:
        file.write(content)


def writing_child(target: Path) -> subprocess.Popen[str]:
    """A process that has written half a file."""
    body = f"""
        import pathlib, time
        from heliorestore.storage import atomic_write
        with atomic_write(pathlib.Path({str(target)!r})) as file:
            file.write(b"half")
            file.flush()
            print("half", flush=True)
            time.sleep(600)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(body)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    return child


@posix
def test_the_part_of_a_killed_process_is_swept_by_the_next_writer(tmp_path: Path) -> None:
    target = tmp_path / "out.fits"
    target.write_text("old")
    with writing_child(target) as child:
        write(tmp_path / "other.fits")  # leaves alone what is still being written
        (part,) = (name for name in names(tmp_path) if name.endswith(".part"))
        assert part.startswith(".out.fits.heliorestore-")
        assert str(child.pid) in part.split("-")
        child.kill()
    assert target.read_text() == "old"
    assert part in names(tmp_path)
    write(tmp_path / "other.fits")
    assert names(tmp_path) == ["other.fits", "out.fits"]
    assert target.read_text() == "old"


def part_of(host: str, pid: int, folder: Path, *, age_s: float = 0.0) -> Path:
    part = folder / f".out.heliorestore-{host}-{pid}-0123abcd.part"
    part.write_text("half")
    os.utime(part, (time.time() - age_s,) * 2)
    return part


@posix
def test_only_what_nobody_writes_any_more_is_swept(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    here, elsewhere, day = storage.here(), "0" * 8, 86400
    gone = [
        part_of(here, child.pid, tmp_path),
        part_of(here, 10**30, tmp_path),
        part_of(elsewhere, child.pid + 1, tmp_path, age_s=day + 60),
        part_of(here, os.getppid(), tmp_path, age_s=day + 60),  # its number is another process's by now
    ]
    stay = [
        part_of(here, os.getpid(), tmp_path, age_s=day - 60),
        part_of(here, 1, tmp_path),  # not ours to signal
        part_of(elsewhere, child.pid, tmp_path, age_s=day - 60),
        tmp_path / ".out.fits.part",  # somebody else's file
        tmp_path / f"out.heliorestore-{here}-{child.pid}-0123abcd.part",
        tmp_path / f".out.heliorestore-{here}-{child.pid}-mine.part",
    ]
    for path in stay[3:]:
        path.write_text("precious")
        os.utime(path, (0, 0))
    write(tmp_path / "new.fits")
    assert [path.name for path in gone if path.exists()] == []
    assert [path.name for path in stay if not path.exists()] == []


@posix
@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
def test_a_clock_that_jumps_takes_no_part_from_who_writes_it(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "out.fits") as file:
        file.write(b"whole")
        file.flush()
        (part,) = tmp_path.glob(".*.part")
        os.utime(part, (0, 0))  # as if it had been written long ago
        with atomic_write(tmp_path / "other.fits") as other:
            other.write(b"too")
    assert names(tmp_path) == ["other.fits", "out.fits"]
    assert (tmp_path / "out.fits").read_bytes() == b"whole"


def test_what_cannot_be_swept_stops_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = part_of("0" * 8, 1, tmp_path, age_s=1e6)
    real = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == part:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    write(tmp_path / "out.fits")
    assert names(tmp_path) == [part.name, "out.fits"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("there", [True, False])
def test_an_error_inside_leaves_nothing_but_the_old_file(
    tmp_path: Path, error: type[BaseException], there: bool
) -> None:
    target = tmp_path / "out.fits"
    if there:
        target.write_text("old")
    with pytest.raises(error), atomic_write(target) as file:  # noqa: PT012 # the error is the block's own
        file.write(b"half")
        raise error
    assert names(tmp_path) == (["out.fits"] if there else [])
    assert not there or target.read_text() == "old"


def test_a_failing_disk_is_a_sentence_for_results_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write(tmp_path / "out.fits")
    with (
        pytest.raises(
            RestorationError, match=f"could not be written .{os.strerror(errno.ENOSPC)}.*Free some"
        ),
        replacing(tmp_path / "out.fits") as file,
    ):
        file.write(b"new")
    assert names(tmp_path) == []


def test_a_link_stays_a_link_and_its_folder_is_the_one_that_is_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real.fits").write_text("old")
    link = tmp_path / "link.fits"
    link.symlink_to(Path("elsewhere") / "real.fits")
    with atomic_write(link) as file:
        file.write(b"new")
        assert len(names(tmp_path / "elsewhere")) == 2
        assert names(tmp_path) == ["elsewhere", "link.fits"]
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "real.fits").read_text() == "new"


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o664])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "out.fits"
    target.write_text("old")
    target.chmod(mode)
    with atomic_write(target) as file:
        (part,) = tmp_path.glob(".out.fits*")
        assert stat.S_IMODE(part.stat().st_mode) == mode  # before anything is in it
        file.write(b"new")
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert target.read_text() == "new"


@posix
def test_a_new_file_has_the_permissions_that_the_user_gives_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "out.fits")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.fits").stat().st_mode) == 0o640


def test_of_concurrent_writers_one_is_whole(tmp_path: Path) -> None:
    together = threading.Barrier(8)
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            with atomic_write(tmp_path / "out.fits") as file:
                together.wait(30)  # all parts are there at once
                file.write(bytes([number]) * 100_000)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failed
    content = (tmp_path / "out.fits").read_bytes()
    assert len(content) == 100_000
    assert len(set(content)) == 1
    assert names(tmp_path) == ["out.fits"]


def test_only_results_are_gzipped_by_their_name(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint.gz")
    assert (tmp_path / "checkpoint.gz").read_bytes() == b"new"
    (tmp_path / "link.fits").symlink_to(tmp_path / "out.fits.gz")
    with replacing(tmp_path / "link.fits") as file:
        file.write(b"new")
    assert (tmp_path / "out.fits.gz").read_bytes().startswith(b"\x1f\x8b")


def test_the_users_folders_are_where_they_have_always_been() -> None:
    cache = platformdirs.user_cache_path("heliorestore", appauthor=False)
    data = platformdirs.user_data_path("heliorestore", appauthor=False)
    assert user_folder("modes") == cache / "modes"
    assert user_folder("bursts") == cache / "bursts"
    assert user_folder("weights") == data / "weights"
    assert user_folder("unfinished") == platformdirs.user_data_path("heliorestore") / "unfinished"
    assert (
        user_folder("presets") == platformdirs.user_config_path("heliorestore", appauthor=False) / "presets"
    )


@pytest.mark.parametrize("error", [AttributeError, RuntimeError])
def test_an_error_that_hides_a_full_disk_is_that_of_the_disk(error: type[Exception], tmp_path: Path) -> None:
    """As astropy and torch end where a file cannot be written."""
    path, full = tmp_path / "out", os.strerror(errno.ENOSPC)
    path.write_text("old")

    def stumble(_: object) -> None:
        try:
            raise OSError(errno.ENOSPC, full)
        except OSError:
            raise error("stumbled")  # noqa: B904 - as those libraries do

    with pytest.raises(RestorationError, match=full), replacing(path) as file:
        stumble(file)
    with pytest.raises(error, match="a fault"), replacing(path):
        raise error("a fault")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert path.read_text() == "old"


def test_who_locks_a_file_is_alone(tmp_path: Path) -> None:
    lock, count = tmp_path / "lock", tmp_path / "count"
    count.write_text("0")
    program = f"""
import sys, time
from pathlib import Path
from heliorestore.storage import locked
for _ in range(20):
    with locked(Path({str(lock)!r})):
        number = int(Path({str(count)!r}).read_text())
        time.sleep(0.002)
        Path({str(count)!r}).write_text(str(number + 1))
"""
    several = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait(60) for process in several] == [0, 0, 0]
    assert count.read_text() == "60"


def test_where_nothing_can_be_locked_the_work_goes_on(tmp_path: Path) -> None:
    with locked(tmp_path / "nothing" / "lock"):
        pass
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    "name", ["a" * 5000, "/".join(["b" * 200] * 40), "a\0b"], ids=["long", "deep", "NUL"]
)
def test_a_name_that_no_file_can_have_is_a_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shown = Snapshot(step=1, total=1, images=np.ones((1, 4, 4), np.float32))
    uses = (
        read,
        lambda given: read([given, given]),
        reopen,
        read_map,
        lambda given: load(f"{given}.safetensors"),
        lambda given: write_result(shown, f"{given}.fits"),
    )
    for use in uses:
        with pytest.raises(HeliorestoreError, match=r"^[^\n]*$"):
            use(path)
    assert check_output(tmp_path / "new.fits", inputs=[path]) == tmp_path / "new.fits"


def test_the_home_of_nobody_is_no_fault_of_ours(tmp_path: Path) -> None:
    assert at_home("~/x") == Path.home() / "x"
    assert at_home("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")


def test_what_does_not_fit_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(RestorationError, match=r"needs at least .* MB, and .* has .* MB left: free some"):
        check_output(tmp_path / "a.fits", size=10 * free)
    assert check_output(tmp_path / "a.fits.gz", size=10 * free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(total=0, free=0))
    assert check_output(tmp_path / "a.fits", size=10 * free)  # of a file system that does not say it


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits")
def test_a_limit_of_the_size_of_files_is_said_before_the_work(tmp_path: Path) -> None:
    code = """
import sys, resource
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from heliorestore.storage import check_folder, check_output
check_output(sys.argv[2] + "/a.fits", size=9_000)
check_folder(sys.argv[2])
"""

    def said(limit: int) -> str:
        command = [sys.executable, "-c", code, str(limit), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert not said(10_000)
    assert "needs at least 0.009 MB, and files of more than 0.008 MB are not allowed: raise" in said(8_000)
    assert "cannot be written (File too large)" in said(100)
