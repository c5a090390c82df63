"""The page of the documentation that helps with an error."""

from __future__ import annotations

import traceback

# Where an error comes from: the longest name that fits; a room without a page is none of a page's business.
PAGES = {
    "batch": "nights.md",
    "batch.cluster": "nights.md#on-a-cluster",
    "batch.plan": "nights.md#a-plan-a-list-of-bursts",
    "bridges": "sdo.md",
    "bridges.dkist": "dkist.md",
    "bridges.needed": "",
    "commands.batch": "nights.md",
    "commands.cube": "exporting.md#one-cube-of-a-scan-or-of-a-night",
    "commands.demodulate": "polarimetry.md#demodulate",
    "commands.field": "polarimetry.md#magnetic-field-and-linear-polarisation",
    "commands.figure": "exporting.md#movies-and-figures",
    "commands.info": "opening.md",
    "commands.instruments": "opening.md#your-own-instrument",
    "commands.movie": "exporting.md#movies-and-figures",
    "commands.quality": "quality.md",
    "commands.register": "register.md",
    "commands.rerun": "exporting.md#repeating-a-run",
    "commands.simulate": "simulation.md",
    "commands.view": "napari.md",
    "commands.weights": "emulator.md#published-weights",
    "diagnose.lambda_object": "comparing.md#a-suggestion-for-lambda_object",
    "fits": "opening.md#when-a-file-is-refused",
    "fits.axes": "opening.md#cubes-whose-headers-do-not-name-their-axes",
    "fits.burst_writer": "exporting.md",
    "fits.cube": "exporting.md#one-cube-of-a-scan-or-of-a-night",
    "fits.cube_writer": "exporting.md#one-cube-of-a-scan-or-of-a-night",
    "fits.given_axes": "opening.md#cubes-whose-headers-do-not-name-their-axes",
    "fits.provenance": "exporting.md#repeating-a-run",
    "fits.readback": "exporting.md",
    "fits.redux_cfg": "opening.md#configurations-of-redux-and-momfbd",
    "fits.tabulated": "opening.md#coordinates-in-a-table-cubes-of-sstred",
    "instrument": "opening.md#when-the-instrument-is-not-in-the-header",
    "methods.checkpoint": "sv-momfbd-reference.md#checkpoints",
    "methods.enhance": "enhance.md",
    "methods.mfbd": "mfbd.md",
    "methods.momfbd": "momfbd.md",
    "methods.noise2noise": "denoise.md",
    "methods.pca": "denoise.md#what-to-choose",
    "methods.richardson_lucy": "richardson-lucy.md",
    "methods.sv_momfbd": "sv-momfbd-reference.md",
    "own_instruments": "opening.md#your-own-instrument",
    "polarimetry": "polarimetry.md",
    "prepare.calibrate": "opening.md#raw-frames-dark-flat-field-bad-pixels",
    "prepare.camera_map": "register.md#the-file",
    "prepare.mapped": "register.md#restore-both-together",
    "prepare.opening": "exporting.md#repeating-a-run",
    "prepare.pinholes": "register.md",
    "prepare.psf_file": "richardson-lucy.md#the-choice-of-the-psf",
    "prepare.redux_burst": "opening.md#configurations-of-redux-and-momfbd",
    "prepare.register": "register.md",
    "prepare.series": "exporting.md#a-steady-series",
    "prepare.sharper": "quality.md#beside-a-sharper-telescope",
    "prepare.sharpness": "quality.md#which-frames-are-sharp",
    "presets": "comparing.md#presets",
    "quality": "quality.md",
    "quality.movies": "exporting.md#movies-and-figures",
    "quality.pictures": "exporting.md#movies-and-figures",
    "simulate": "simulation.md",
    "storage": "",
    "train.denoise": "denoise.md#where-the-weights-come-from",
    "train.emulator": "emulator.md#training-one",
    "train.enhance": "enhance.md#where-the-weights-come-from",
    "train.mfbd": "mfbd.md#where-the-weights-come-from-and-how-to-make-others",
}


def with_page(sentence: str, error: BaseException, room: str = "") -> str:
    """The sentence about an error, with the page that helps at its end.

    `room`: the module that the user asked, for an error that does not come from a room with a page.
    """
    for raised in (*_passed(error), room.removeprefix("heliorestore.")):
        names = raised.split(".")
        for length in range(len(names), 0, -1):
            if (page := PAGES.get(".".join(names[:length]))) is not None:
                return f"{sentence.removesuffix('.')} (see docs/{page})." if page else sentence
    return sentence


def _passed(error: BaseException) -> list[str]:
    """The modules of the package through which an error came, the one that raised it first."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [name.removeprefix("heliorestore.") for name in frames if name.startswith("heliorestore.")]
    return own[::-1]
