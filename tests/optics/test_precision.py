"""The last layers of the networks are computed in the precision of their weights."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from heliorestore.optics.precision import half, precisely, single


def test_a_small_contrast_survives_half_precision() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    contrast = torch.tensor([[1.0], [1.001]])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half, whole = layer(contrast), precisely(layer, contrast)
    assert float(half[1] - half[0]) == 0
    assert abs(float(whole[1] - whole[0]) - 1e-3) < 1e-6


def test_networks_are_halved_on_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *given, **known: (*given, known))
    assert half(torch.device("cuda:1")) == ("cuda", torch.bfloat16, {})
    assert single(torch.device("cuda:1")) == ("cuda", {"enabled": False})
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda kind: kind != "mps")
    for nothing in (half(torch.device("mps")), half(torch.device("cpu")), single(torch.device("mps"))):
        assert isinstance(nothing, nullcontext)  # old torches refuse autocast on mps
