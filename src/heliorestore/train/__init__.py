"""Recipes and loops that train the networks, which are loaded on use."""

from __future__ import annotations

from collections.abc import Mapping

TRAINERS: Mapping[str, str] = {
    "enhance": "heliorestore.train.enhance:TRAINER",
    "emulator": "heliorestore.train.emulator:TRAINER",
    "mfbd": "heliorestore.train.mfbd:TRAINER",
    "denoise": "heliorestore.train.denoise:TRAINER",
}
"""How each method's networks are trained, loaded on use."""
