"""What a run of SV-MOMFBD plans is what is said about it before."""

import numpy as np
import torch

import heliorestore
from heliorestore.diagnose.memory import memory_estimate
from heliorestore.methods.blind.field_fit import FieldFit
from heliorestore.methods.blind.field_plan import plan_field
from heliorestore.methods.sv_momfbd import SvMomfbdSettings

FIELD = (1, 12, 1024, 1024)


def test_a_run_cuts_the_field_as_planned() -> None:
    frames = np.random.default_rng(0).normal(1.0, 0.1, (2, 3, 80, 96)).astype(np.float32)
    crisp = heliorestore.Instrument.parse("crisp-8542")
    burst = heliorestore.Burst(frames=frames, instruments=(crisp, crisp))
    settings = SvMomfbdSettings(grid_step=16, psf=32, patch=32, modes=5, memory_gb=0.1)
    device = torch.device("cpu")
    plan = plan_field(burst.shape, settings, device)
    fit = FieldFit(burst, settings, device, None)
    assert fit.flow.flow.layout == plan.layout(1)
    assert fit.problem is not None


def test_patches_that_are_not_fitted_take_no_memory() -> None:
    settings = SvMomfbdSettings(memory_gb=8.0, grid_step=64, psf=32, patch=256)
    none = settings.replace(patch_iterations=0)
    assert memory_estimate(FIELD, none) == memory_estimate(FIELD, settings.replace(start="average"))
    assert memory_estimate(FIELD, none) < memory_estimate(FIELD, settings)
