"""Bytes of a file, plain or gzipped: nothing stays open, and a damaged stream is one BurstError."""

from __future__ import annotations

import gzip
import io
import os
import stat
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from heliorestore.errors import BurstError

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

MOST_GUNZIPPED = 512 * 2**20  # bytes; a gzip stream has no random access, so all of it must fit into memory
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE = 2**20
_astropy = threading.RLock()


class Gunzip:
    """Opens files; gzipped ones are decompressed in memory, and the last one is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[Path, int, bytes] | None = None

    def open(self, path: Path) -> BinaryIO:
        """Return the file, open for reading, with a gzipped one already decompressed."""
        try:
            # Reads are large: a buffer would only copy them once more.
            file = path.open("rb", buffering=0)
        except OSError as error:
            raise BurstError(f"{path} cannot be opened: {error.strerror or error}.") from error
        try:
            if file.read(2) != _GZIP_MAGIC:
                return file
        except OSError as error:
            file.close()
            raise BurstError(f"{path} cannot be read: {error.strerror or error}.") from error
        with file:
            return io.BytesIO(self._unpacked(path, file))

    def _unpacked(self, path: Path, file: io.FileIO) -> bytes:
        changed = os.fstat(file.fileno()).st_mtime_ns
        with self._lock:
            # One file is enough: the frames of a burst are read from the same one, again and again.
            if self._kept is None or self._kept[:2] != (path, changed):
                self._kept = None  # free the old one first, or both are in memory
                self._kept = (path, changed, _gunzip(path, file))
            return self._kept[2]


class Opened:
    """The file that is looked into, opened once for bytes and once for astropy; the next replaces it."""

    def __init__(self, gunzip: Gunzip) -> None:
        self.gunzip = gunzip
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._hdus: HDUList | None = None

    def file(self, path: Path) -> BinaryIO:
        """The bytes of a file."""
        if self._file is None or self._file.closed or path != self._path:
            self._close()
            self._path, self._file = path, self.gunzip.open(path)
        return self._file

    def hdus(self, path: Path) -> HDUList:
        """The HDUs of a file as astropy has them, each read when it is asked for."""
        from astropy.io import fits

        file = self.file(path)
        if self._hdus is None:
            file.seek(0)
            self._hdus = fits.open(file, memmap=False, lazy_load_hdus=True)
        return self._hdus

    def _close(self) -> None:
        for opened in (self._hdus, self._file):
            if opened is not None:
                opened.close()
        self._file = self._hdus = None

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *error: Any) -> None:
        self._close()


def regular(path: Path) -> Path:
    """The absolute path of a regular file that is there; a BurstError for anything else."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise BurstError(f"{path} does not exist.") from error
    except (OSError, ValueError) as error:  # the latter of characters that no name has
        raise BurstError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}.") from error
    if stat.S_ISDIR(mode):
        raise BurstError(f"{path} is a folder: give one folder alone, or files.")
    if not stat.S_ISREG(mode):
        raise BurstError(f"{path} is not a regular file: copy its data to disk first.")
    return path.absolute()


def _gunzip(path: Path, file: io.FileIO) -> bytes:
    file.seek(0)
    unpacked = io.BytesIO()  # grows in place and gives its bytes without a copy
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            while piece := stream.read(_PIECE):
                unpacked.write(piece)
                if unpacked.tell() > MOST_GUNZIPPED:
                    raise BurstError(
                        f"{path} holds more than {MOST_GUNZIPPED >> 20} MiB, and a gzipped file must fit "
                        "into memory: gunzip it first."
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise BurstError(
            f"{path} is gzipped but damaged or cut off ({in_one_line(error)}): copy it again."
        ) from error
    return unpacked.getvalue()


def read_exactly(file: BinaryIO, offset: int, size: int, path: Path) -> bytes:
    """Return `size` bytes from `offset`; a shorter file is a BurstError."""
    pieces = []
    try:
        file.seek(offset)
        while size > 0 and (piece := file.read(size)):
            pieces.append(piece)
            size -= len(piece)
    except OSError as error:
        raise BurstError(f"{path} cannot be read: {error.strerror or error}.") from error
    if size:
        raise BurstError(
            f"{path} ends {size} bytes too early: it was cut off or changed while it was read; open it again."
        )
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def in_one_line(error: BaseException) -> str:
    """The message of another library's error, without line breaks."""
    return " ".join(str(error).split())


def length_of(file: BinaryIO) -> int:
    """The number of bytes of an open file."""
    return file.seek(0, io.SEEK_END)


@contextmanager
def silent_astropy() -> Iterator[None]:
    """Let astropy read odd cards silently; one thread at a time, because warning filters are global."""
    with _astropy, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
