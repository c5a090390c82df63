"""A night through kills: worker processes are killed at random, and the coordinator twice.

    python benchmarks/night.py FOLDER [--bursts 1000] [--workers 2] [--every 20] [--coordinators 2]

writes bursts of 64 x 64 pixels, restores them with richardson-lucy, and kills (signal 9) a worker every 20 s
and the coordinator twice; each time the same command is given again. At the end every result must be there,
valid by its CHECKSUM, and made once. Prints seconds, and those that the same line takes when all is done and
until it goes on when 9 results are missing (median of 5 each).

    python benchmarks/night.py FOLDER --watch FILE [--settle 3]

copies a burst five times into a folder that `batch mfbd --watch` watches, and prints the seconds from the end
of each copy to its image.

    python benchmarks/night.py FOLDER --sleep 3 [--workers 64]

has 1, 2, 4, ... workers at one night whose bursts sleep instead of being restored, five bursts for each, and
prints the speed-up over its number: what ledger, attempts and looking at each other cost.
"""

import argparse
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from astropy.io import fits

from heliorestore.batch.ledger import Entry, Ledger
from heliorestore.batch.night import Night, add
from heliorestore.batch.work import Worker
from heliorestore.methods.richardson_lucy import RichardsonLucySettings
from heliorestore.preparation import Preparation


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bursts", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two killed workers")
    parser.add_argument("--coordinators", type=int, default=2, help="how many coordinators are killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--watch", type=Path, metavar="FILE", help="measure a watched folder with this burst")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds a file must rest (default 3)")
    parser.add_argument(
        "--sleep", type=float, metavar="S", help="measure workers whose bursts take S seconds"
    )
    parser.add_argument("--sleeper", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.sleeper:
        sleeper(chosen.folder, chosen.sleep)
        return
    if chosen.sleep:
        speed_up(chosen)
        return
    if chosen.watch:
        watch(chosen)
        return
    inputs, night = chosen.folder / "in", chosen.folder / "night"
    shutil.rmtree(night, ignore_errors=True)
    write_bursts(inputs, chosen.bursts)
    dice = random.Random(chosen.seed)
    began, killed, last = time.monotonic(), 0, time.monotonic()
    deaths = sorted(dice.uniform(0.1, 0.8) for _ in range(chosen.coordinators))
    run = begin(inputs, night, chosen.workers)
    while (status := run.poll()) is None:
        time.sleep(0.2)
        seen = Ledger(night)
        seen.refresh()
        counts = seen.counts()
        assert sum(n for word, n in counts.items() if word != "total") == counts["total"], counts
        if deaths and counts["total"] and counts["done"] >= deaths[0] * chosen.bursts:
            deaths.pop(0)
            run.send_signal(signal.SIGKILL)
            run.wait()
            run = begin(inputs, night, chosen.workers)
        elif time.monotonic() - last > chosen.every:
            last = time.monotonic()
            workers = psutil.Process(run.pid).children()
            if workers:
                dice.choice(workers).kill()
                killed += 1
    seconds = time.monotonic() - began
    report(night, chosen, status, killed, seconds)


def begin(inputs: Path, night: Path, workers: int) -> subprocess.Popen[bytes]:
    """The command of a user."""
    words = ["batch", "richardson-lucy", str(inputs), "-o", str(night), "--workers", str(workers), "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "heliorestore.cli", *words], stdout=subprocess.DEVNULL, start_new_session=True
    )


def write_bursts(folder: Path, count: int) -> None:
    """Small bursts of noise, each of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    header = fits.Header({"TELESCOP": "SST", "INSTRUME": "CRISP", "WAVELNTH": 630.2, "WAVEUNIT": -9})
    header.update({"CDELT1": 0.059, "CUNIT1": "arcsec"})
    for number in range(count):
        image = noise.normal(1000, 30, (1, 64, 64)).astype(np.float32)
        fits.writeto(folder / f"burst{number:05d}.fits", image, header, overwrite=True)


def report(night: Path, chosen: argparse.Namespace, status: int, killed: int, seconds: float) -> None:
    """Look at every result, and print what was found."""
    ledger = Ledger(night)
    ledger.refresh()
    counts = ledger.counts()
    valid = twice = 0
    for entry in ledger.entries.values():
        with fits.open(night / entry.name, checksum=True) as hdus:
            valid += all(hdu.verify_datasum() == 1 and hdu.verify_checksum() == 1 for hdu in hdus)
        twice += sum(end["event"] == "done" for end in entry.ends.values()) > 1
    again, done = [], []
    for _ in range(5):
        begun = time.monotonic()
        again.append(begin(chosen.folder / "in", night, chosen.workers).wait())
        done.append(time.monotonic() - begun)
    print(
        json.dumps(
            counts
            | {
                "status": status,
                "valid": valid,
                "done twice": twice,
                "workers killed": killed,
                "coordinators killed": chosen.coordinators,
                "seconds": round(seconds, 1),
                "seconds per burst and worker": round(seconds * chosen.workers / chosen.bursts, 4),
                "again": again,
                "seconds of a night that is done": round(statistics.median(done), 2),
                "seconds until 99 % go on": round(
                    statistics.median(go_on(night, chosen) for _ in range(5)), 2
                ),
            }
        )
    )
    assert valid == counts["total"] == chosen.bursts
    assert not twice


def watch(chosen: argparse.Namespace) -> None:
    """Time the images of bursts that come into a watched folder one after the other."""
    incoming, night = chosen.folder / "incoming", chosen.folder / "quicklook"
    for folder in (incoming, night):
        shutil.rmtree(folder, ignore_errors=True)
    incoming.mkdir(parents=True)
    words = ["batch", "mfbd", str(incoming), "-o", str(night), "--watch", "--workers", "1", "--quiet"]
    run = subprocess.Popen([sys.executable, "-m", "heliorestore.cli", *words, "--settle", str(chosen.settle)])
    time.sleep(20)  # a watch at the telescope has begun long before
    seconds = []
    for number in range(5):
        shutil.copy(chosen.watch, incoming / f"burst{number}.fits")
        begun = time.monotonic()
        while not (night / f"burst{number}_restored.fits").exists() and run.poll() is None:
            time.sleep(0.02)
        seconds.append(round(time.monotonic() - begun, 2))
        time.sleep(2)
    run.send_signal(signal.SIGINT)
    run.wait()
    print(json.dumps({"seconds from file to image": seconds, "median": statistics.median(seconds)}))


def go_on(night: Path, chosen: argparse.Namespace) -> float:
    """Seconds from the command until a worker has taken a burst, if 9 results of the night are missing."""
    for path in sorted(night.glob("*.fits"))[:9]:
        path.unlink()
    before = len(list((night / "attempts").iterdir()))
    begun = time.monotonic()
    run = begin(chosen.folder / "in", night, chosen.workers)
    while len(list((night / "attempts").iterdir())) == before:
        time.sleep(0.01)
    seconds = time.monotonic() - begun
    run.wait()
    return seconds


def speed_up(chosen: argparse.Namespace) -> None:
    """Print the speed-up of 1, 2, 4, ... workers over their number."""
    each, found, workers = 5, {}, 1
    while workers <= chosen.workers:
        night = chosen.folder / f"night{workers}"
        shutil.rmtree(night, ignore_errors=True)
        inputs = chosen.folder / f"in{workers}"
        write_bursts(inputs, workers * each)
        settings = Night.restoring(RichardsonLucySettings(), Preparation())
        settings.begin(night)
        add(Ledger(night), settings, [(path,) for path in sorted(inputs.iterdir())])
        words = [sys.executable, __file__, str(night), "--sleeper", "--sleep", str(chosen.sleep)]
        running = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(workers)]
        for process in running:  # each says that it is ready
            assert process.stdout is not None
            process.stdout.readline()
        begun = time.time()
        (night / "go").touch()
        for process in running:
            assert process.wait() == 0
        ledger = Ledger(night)
        ledger.refresh()
        # not the end of the processes: that of a hundred interpreters takes two cores a while
        ended = max(end["at"] for entry in ledger.entries.values() for end in entry.ends.values())
        found[workers] = round(each * chosen.sleep / (ended - begun), 3)
        assert ledger.counts()["done"] == workers * each, ledger.counts()
        print(json.dumps({"workers": workers, "speed-up over number": found[workers]}), flush=True)
        workers *= 2


def sleeper(night: Path, seconds: float) -> None:
    """A worker that sleeps for each burst that it takes."""
    worker = Worker(night)

    def result(entry: Entry) -> dict[str, Any]:
        time.sleep(seconds)
        return {"slept": seconds}

    worker._result = result  # the work itself is what is left out
    print("ready", flush=True)
    while not (night / "go").exists():
        time.sleep(0.01)
    worker.run()


if __name__ == "__main__":
    main()
