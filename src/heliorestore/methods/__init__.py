"""The methods by name; a module is loaded when its method is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """The module of a method, its line in `heliorestore --help`, the function that completes its settings
    from the data, the one that reads the earlier result which its setting `start` may name, and the one that
    refuses settings which this burst cannot be restored within.

    `needs_instrument`: aperture, pixels and wavelength must be known; `maps`: other names for maps that mean
    less than their kind; `missing`: a frame need not have an image of every object; `sweeps`: the settings
    whose values are worth comparing, the first one most; `title`: its name in the window; `papers`: what to
    cite, by the keys of `papers.bib`; `iterates`: whether its losses are a curve.
    """

    target: str
    summary: str
    prepare: str = ""
    start: str = ""
    check: str = ""
    needs_instrument: bool = True
    maps: Mapping[str, str] = field(default_factory=dict)
    missing: bool = False
    sweeps: tuple[str, ...] = ()
    title: str = ""
    papers: tuple[str, ...] = ()
    iterates: bool = True


METHODS = {
    "mfbd": Entry(
        "heliorestore.methods.mfbd:METHOD",
        "Restore a burst with a trained network, in a pass per seven frames (MFBD).",
        needs_instrument=False,
        maps={"uncertainty": "spread"},
        sweeps=("committee", "best"),
        title="MFBD",
        papers=("AsensioRamos2018",),
    ),
    "momfbd": Entry(
        "heliorestore.methods.momfbd:METHOD",
        "Restore a burst by blind deconvolution in overlapping patches (MOMFBD).",
        prepare="heliorestore.diagnose.fried:prepare",
        check="heliorestore.diagnose.memory:check_limit",
        missing=True,
        sweeps=("r0_cm", "modes", "patch", "prior", "filter_width"),
        title="MOMFBD",
        papers=("vanNoort2005",),
    ),
    "richardson-lucy": Entry(
        "heliorestore.methods.richardson_lucy:METHOD",
        "Deconvolve with the instrument's PSF (damped Richardson-Lucy).",
        sweeps=("iterations", "damping"),
        title="Richardson-Lucy",
        papers=("Richardson1972", "Lucy1974"),
    ),
    "sv-momfbd": Entry(
        "heliorestore.methods.sv_momfbd:METHOD",
        "Restore a burst by blind deconvolution with a blur that varies from place to place.",
        start="heliorestore.fits.readback:read_start",
        check="heliorestore.diagnose.memory:check_limit",
        missing=True,
        sweeps=("lambda_object", "lambda_modes", "r0_cm", "modes", "filter_width"),
        title="SV-MOMFBD",
        papers=("AsensioRamos2024",),
    ),
    "enhance": Entry(
        "heliorestore.methods.enhance:METHOD",
        "Deconvolve HMI continuum images and magnetograms to twice the resolution.",
        needs_instrument=False,  # it is HMI's
        title="Enhance",
        papers=("DiazBaso2018",),
        iterates=False,
    ),
    "denoise": Entry(
        "heliorestore.methods.noise2noise:METHOD",
        "Denoise Stokes images with a network, one that may learn from the series itself (Noise2Noise).",
        needs_instrument=False,
        sweeps=("fit",),
        title="Noise2Noise",
        papers=("DiazBaso2019",),
    ),
    "pca": Entry(
        "heliorestore.methods.pca:METHOD",
        "Denoise spectra by a few principal components along wavelength (PCA).",
        needs_instrument=False,
        sweeps=("components",),
        title="PCA",
        papers=("MartinezGonzalez2008", "DiazBaso2019"),
        iterates=False,
    ),
}
