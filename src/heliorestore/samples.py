"""The small sample files that are bundled with the package."""

from pathlib import Path

SAMPLES = {
    "hmi_continuum.fits": "HMI-like continuum image (synthetic)",
    "hmi_magnetogram.fits": "HMI-like magnetogram (synthetic)",
    "small_burst.fits": "Sunspot burst, CRISP-like, 2 objects x 6 frames (synthetic)",
    "sunspot_burst.fits": "Larger sunspot burst, CRISP-like, 2 objects x 12 frames (synthetic)",
    "sunspot_truth.fits": "The truth behind the larger sunspot burst (synthetic)",
    "stokes_series.fits": "Noisy Stokes time series, Fe I 6302 (synthetic)",
}
"""File names with the titles that a menu shows."""


def sample_path(name: str) -> Path:
    """The path of a sample: inside the installed package, or at the top of a source checkout."""
    package = Path(__file__).parent
    for folder in (package / "sample_data", package.parents[1] / "sample_data"):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"The sample {name} is not installed; there are {', '.join(SAMPLES)}.")
