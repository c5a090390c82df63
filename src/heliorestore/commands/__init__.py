"""The commands of `heliorestore`: a room each, of one shape: `add_arguments(parser)` and `run(parsed)`, which
returns the exit status.

A room is loaded when its command is asked for; the methods share the room `restore`.
"""

COMMANDS = {
    "info": "Say what a file holds and what is unknown about it.",
    "simulate": "Simulate a burst of the Sun seen through air and telescope, with the truth.",
    "rerun": "Repeat the run that made a restored file.",
    "quality": "Measure an image: contrast, noise, power spectrum, and its likeness to a reference.",
    "train": "Train a network as a recipe says.",
    "weights": "List, show, import, check or compare the weights of networks.",
    "view": "Open napari with the files.",
}
"""Names and summaries; those of the methods stand in `heliorestore.methods`."""
