"""The last layers of the networks are computed in the precision of their weights."""

import torch
from torch import nn

from heliorestore.optics.precision import precisely


def test_a_small_contrast_survives_half_precision() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    contrast = torch.tensor([[1.0], [1.001]])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half, whole = layer(contrast), precisely(layer, contrast)
    assert float(half[1] - half[0]) == 0
    assert abs(float(whole[1] - whole[0]) - 1e-3) < 1e-6
