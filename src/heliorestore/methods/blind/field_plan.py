"""How a run of SV-MOMFBD shares its memory, and what it will need of it: `field_fit` goes by this plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from heliorestore.budget import HEAP_BYTES, Shares, budget_bytes, share
from heliorestore.methods.blind.emulated import emulator_layout, emulator_working_bytes, size_of
from heliorestore.methods.blind.field_settings import SvMomfbdSettings
from heliorestore.methods.blind.forward import PlanLayout
from heliorestore.methods.blind.parts import Layout, make_layout, working_bytes
from heliorestore.methods.blind.patch_fit import patch_bytes, patch_state_bytes
from heliorestore.methods.blind.refinement import flow_state_bytes
from heliorestore.nets import weights

_BEGUN = 0.25  # of what stays whole on the field, is there before
_PATCH_MODES = 44  # that patches are fitted with; the field adds the finer ones


@dataclass(frozen=True)
class FieldPlan:
    """The shares of the memory for frames (object, frame, y, x)."""

    burst_shape: tuple[int, int, int, int]
    settings: SvMomfbdSettings
    device: torch.device
    shares: Shares

    @property
    def on_patches(self) -> bool:
        """Whether the first iterations are on patches."""
        settings = self.settings
        return settings.start == "patches" and not settings.at_once and settings.patch_iterations > 0

    @property
    def patches(self) -> tuple[int, int]:
        """Side and distance of these patches in pixels."""
        return self.settings.patch, self.settings.patch // 2

    @property
    def patch_modes(self) -> int:
        return min(_PATCH_MODES, self.settings.modes)

    @cached_property
    def network(self) -> tuple[int, float] | None:
        """Width of the network that blurs, and bytes of its weights; None with filter flow."""
        if self.settings.forward != "emulator":
            return None
        return size_of(weights.read_record(weights.find(self.settings.emulator)).architecture)

    @property
    def make_layout(self) -> PlanLayout:
        """What decides how large the parts are that the model works on."""
        return make_layout if self.network is None else emulator_layout(self.network[0])

    def layout(self, optics: int) -> Layout:
        """The tiles of the field and batches of frames, for so many distinct optics."""
        return self.make_layout(
            self.burst_shape,
            step=self.settings.grid_step,
            psf=self.settings.psf,
            optics=optics,
            memory_bytes=self.shares.work,
            device=self.device,
        )

    def peak_bytes(self, optics: int) -> float:
        """Bytes at the peak of a run."""
        layout, objects = self.layout(optics), self.burst_shape[0]
        if self.network is None:
            work = working_bytes(layout, objects, optics, at_once=self.settings.at_once)
        else:
            width, of_network = self.network
            work = emulator_working_bytes(layout, objects, width) + of_network
        peak = self.shares.state + work
        if self.on_patches:
            # First the patches, then the field: the two are never in memory together.
            state = HEAP_BYTES + patch_state_bytes(self.burst_shape, *self.patches, self.patch_modes)
            first = patch_bytes(self.burst_shape, *self.patches, self.shares.work, optics, self.device)
            peak = max(peak, state + first + _BEGUN * self.shares.state)
        return self.shares.held + peak


def plan_field(
    burst_shape: tuple[int, int, int, int], settings: SvMomfbdSettings, device: torch.device
) -> FieldPlan:
    """The plan with what is free now, unless the settings say how much may be used."""
    state = flow_state_bytes(burst_shape, settings.modes, settings.grid_step, settings.psf)
    shares = share(budget_bytes(settings.memory_gb, device), burst_shape, state)
    return FieldPlan(burst_shape, settings, device, shares)
