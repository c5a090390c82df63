"""Open a burst of 5 GB, and a folder of many files, in a fresh process; print seconds and the peak of its
memory.

python benchmarks/open_big_burst.py [--size-gb 5] [--files 2000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits

PROBE = """
import sys, time
began = time.perf_counter()
import resource
from heliorestore.fits.reader import read_burst
imported = time.perf_counter()
burst = read_burst(sys.argv[1])
opened = time.perf_counter()
peak_open = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
image = burst.image(burst.shape[0] - 1, burst.shape[1] - 1)
read = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"shape {burst.shape}: import {imported - began:.3f} s, open {opened - imported:.3f} s, "
      f"one frame {read - opened:.3f} s, "
      f"peak RSS {peak_open:.0f} MiB after opening and {peak:.0f} MiB after the frame")
"""


def big_file(path: Path, size_gb: float) -> None:
    """A sparse file (object, frame, y, x) = (2, n, 1024, 1024) of float32."""
    frames = max(1, round(size_gb * 1e9 / (2 * 4 * 1024**2)))
    header = fits.PrimaryHDU(np.zeros((1, 1, 1, 1), np.float32)).header
    for axis, size in enumerate((1024, 1024, frames, 2), 1):
        header[f"NAXIS{axis}"] = size
    header["TELESCOP"], header["INSTRUME"], header["WAVELNTH"], header["WAVEUNIT"] = (
        "SST",
        "CRISP",
        8542.0,
        -10,
    )
    with path.open("wb") as file:
        file.write(header.tostring().encode("ascii"))
        file.truncate(file.tell() + -(-2 * frames * 4 * 1024**2 // 2880) * 2880)


def many_files(folder: Path, number: int) -> None:
    """Frames of one camera, a file each, 256 x 256 of 16-bit unsigned integers."""
    folder.mkdir()
    start = np.datetime64("2026-05-01T08:00:00.000")
    for n in range(number):
        hdu = fits.PrimaryHDU(np.full((256, 256), n % 60000, np.uint16))
        hdu.header["DATE-OBS"] = str(start + np.timedelta64(30 * n, "ms"))
        hdu.header["INSTRUME"] = "CRISP"
        for k in range(100):
            hdu.header[f"CARD{k}"] = (k, "a header of the usual length")
        hdu.writeto(folder / f"frame{n}.fits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-gb", type=float, default=5.0)
    parser.add_argument("--files", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "burst.fits"
        big_file(path, given.size_gb)
        many_files(Path(folder) / "frames", given.files)
        for name, target in (
            (f"{path.stat().st_size / 1e9:.2f} GB file", path),
            (f"{given.files} files", path.parent / "frames"),
        ):
            done = subprocess.run(
                [sys.executable, "-c", PROBE, str(target)], capture_output=True, text=True, check=True
            )
            print(f"{name}: {done.stdout.strip()}")


if __name__ == "__main__":
    main()
