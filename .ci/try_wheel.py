"""Run inside a fresh environment that holds nothing but the wheel: command, manifest and sample data must
work.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import npe2

import heliorestore
from heliorestore.samples import SAMPLES, sample_path

command = Path(sys.executable).with_name("heliorestore")
package = Path(heliorestore.__file__).parent
assert "site-packages" in str(package), package

manifest = npe2.PluginManifest.from_distribution("heliorestore")
assert manifest.contributions.readers, "the manifest declares no reader"

for name in SAMPLES:
    assert sample_path(name).is_relative_to(package), sample_path(name)
    described = subprocess.run(
        [command, "info", sample_path(name), "--json"], check=True, capture_output=True, text=True
    )
    print(name, json.loads(described.stdout.splitlines()[-1])["shape"])

with tempfile.TemporaryDirectory() as folder:
    restored = Path(folder) / "restored.fits"
    subprocess.run(
        [command, "richardson-lucy", sample_path("hmi_continuum.fits"), "-o", restored, "--iterations", "3"],
        check=True,
    )
    again = Path(folder) / "again.fits"
    subprocess.run([command, "rerun", restored, "-o", again], check=True)
    first, second = heliorestore.read(restored), heliorestore.read(again)
    assert (first.images == second.images).all()
print("wheel works:", package)
