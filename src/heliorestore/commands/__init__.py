"""The commands of `heliorestore`, one module each with `add_arguments(parser)` and `run(parsed)`, which
returns the exit status.

A module is loaded when its command is used; the methods share the module `restore`.
"""

COMMANDS = {
    "info": "Show the content of a file and what is unknown about it.",
    "simulate": "Simulate a burst of the Sun seen through atmosphere and telescope, with the truth.",
    "register": "Find the map between two cameras of one telescope.",
    "demodulate": "Make Stokes images of restored modulation states.",
    "field": "Magnetic field and linear polarisation of Stokes images, in the weak-field approximation.",
    "rerun": "Repeat the run that made a restored file.",
    "instruments": "List the known instruments, keep or remove your own.",
    "cube": "Join restorations of a scan or a night in one cube: x, y, wavelength, Stokes, time.",
    "movie": "Show the images of a cube or of restorations one after the other, as .mp4 or .gif.",
    "figure": "Draw a restored image, or before and after, with axes in arcsec, as .pdf, .png or .svg.",
    "quality": "Measure an image: contrast, noise, power spectrum, and its similarity to a reference.",
    "train": "Train a network by a recipe.",
    "weights": "List, show, import, check or compare the weights of networks.",
    "batch": "Restore many bursts: a night that goes on where it was, on this machine or a cluster.",
    "view": "Open napari with the files.",
    "demo": "Restore the sunspot burst of the samples in napari, to see how it works.",
    "doctor": "Say what is installed and what the machine has, for a report of a problem.",
    "cite": "Show what to cite for a restoration, as BibTeX.",
}
"""Names and summaries; those of the methods are in `heliorestore.methods`."""
