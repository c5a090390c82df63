"""Recipes and loops that train the networks; each is loaded when used."""

from __future__ import annotations

from collections.abc import Mapping

TRAINERS: Mapping[str, str] = {
    "enhance": "heliorestore.train.enhance:TRAINER",
    "emulator": "heliorestore.train.emulator:TRAINER",
    "mfbd": "heliorestore.train.mfbd:TRAINER",
    "denoise": "heliorestore.train.denoise:TRAINER",
}
"""The trainer of each method's networks, loaded when used."""
