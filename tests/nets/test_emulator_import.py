"""A checkpoint as the published training script writes it, of a network written down anew, becomes weights of
ours."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from heliorestore.cli import main
from heliorestore.instrument import Instrument
from heliorestore.nets import weights
from heliorestore.nets.emulator import MODES, PUBLISHED_INSTRUMENTS

WIDTH = 64


def state() -> "OrderedDict[str, torch.Tensor]":
    """Random weights under the published names."""
    generator = torch.Generator().manual_seed(0)
    tensors: OrderedDict[str, torch.Tensor] = OrderedDict()

    def layer(name: str, before: int, after: int, *, conv: int, norm: int) -> None:
        tensors[f"{name}.{conv}.weight"] = (
            torch.randn((after, before, 3, 3), generator=generator) / (9 * before) ** 0.5
        )
        tensors[f"{name}.{norm}.weight"] = 1 + 0.1 * torch.randn(after, generator=generator)
        tensors[f"{name}.{norm}.bias"] = 0.1 * torch.randn(after, generator=generator)
        tensors[f"{name}.{norm}.running_mean"] = 0.1 * torch.randn(after, generator=generator)
        tensors[f"{name}.{norm}.running_var"] = 1 + torch.rand(after, generator=generator)
        tensors[f"{name}.{norm}.num_batches_tracked"] = torch.tensor(7)

    def linear(name: str, before: int, after: int) -> None:
        tensors[f"{name}.weight"] = torch.randn((after, before), generator=generator) / before**0.5
        tensors[f"{name}.bias"] = torch.randn(after, generator=generator)

    for number, before, after in ((0, 4, 64), (2, 64, 64), (4, 64, 64), (6, 64, 2)):
        linear(f"film.net.{number}", before, after)
    layer("inc.double_conv", 1 + MODES, WIDTH, conv=0, norm=1)
    layer("inc.double_conv", WIDTH, WIDTH, conv=3, norm=4)
    for number, (before, after) in enumerate(((64, 128), (128, 256), (256, 512), (512, 512)), 1):
        layer(f"down{number}.doubleconvfilm.double_conv1", before, after, conv=0, norm=1)
        layer(f"down{number}.doubleconvfilm.double_conv2", after, after, conv=0, norm=1)
    for number, (before, after) in enumerate(((1024, 256), (512, 128), (256, 64), (128, 64)), 1):
        layer(f"up{number}.conv.double_conv", before, before // 2, conv=0, norm=1)
        layer(f"up{number}.conv.double_conv", before // 2, after, conv=3, norm=4)
    tensors["outc.conv.weight"] = torch.randn((1, WIDTH, 1, 1), generator=generator)
    tensors["outc.conv.bias"] = torch.zeros(1)
    return tensors


def applied(
    s: dict[str, torch.Tensor], image: torch.Tensor, modes: torch.Tensor, one_hot: torch.Tensor
) -> torch.Tensor:
    """The published network, operation by operation."""
    f = nn.functional

    def convolved(x: torch.Tensor, name: str, conv: int, norm: int) -> torch.Tensor:
        x = f.conv2d(x, s[f"{name}.{conv}.weight"], padding=1)
        parts = [s[f"{name}.{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return f.relu(f.batch_norm(x, *parts))

    hidden = one_hot
    for number in (0, 2, 4):
        hidden = f.relu(f.linear(hidden, s[f"film.net.{number}.weight"], s[f"film.net.{number}.bias"]))
    gamma, beta = f.linear(hidden, s["film.net.6.weight"], s["film.net.6.bias"])[0]
    x = torch.cat([image, modes], 1)
    levels = [convolved(convolved(x, "inc.double_conv", 0, 1), "inc.double_conv", 3, 4)]
    for number in (1, 2, 3, 4):
        name = f"down{number}.doubleconvfilm.double_conv"
        half = convolved(f.max_pool2d(levels[-1], 2), name + "1", 0, 1)
        levels.append(convolved(gamma * half + beta, name + "2", 0, 1))
    x = levels.pop()
    for number in (1, 2, 3, 4):
        x = torch.cat(
            [levels.pop(), f.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)], 1
        )
        x = convolved(
            convolved(x, f"up{number}.conv.double_conv", 0, 1), f"up{number}.conv.double_conv", 3, 4
        )
    return f.conv2d(x, s["outc.conv.weight"], s["outc.conv.bias"])


def test_a_published_checkpoint_gives_the_published_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path / "own", tmp_path / "package"))
    monkeypatch.setattr(
        "heliorestore.nets.importing.folders", lambda: (tmp_path / "own", tmp_path / "package")
    )
    tensors = state()
    hyperparameters = {
        "n_channels": 45,
        "channels_latent": WIDTH,
        "lr": 3e-4,
        "training_file": "somewhere.h5",
        "model_code": ["a line\n"],
    }
    content = {
        "epoch": 51,
        "state_dict": tensors,
        "best_loss": np.float64(1e-4),
        "loss": [1.0],
        "hyperparameters": hyperparameters,
    }
    torch.save(content, tmp_path / "2024.best.pth")
    assert main(["weights", "import", str(tmp_path / "2024.best.pth"), "--as", "svce"]) == 0
    net, record = weights.load("svce")
    assert record.architecture == "emulator-published"
    assert record.normalisation == "over its maximum"
    assert [Instrument.parse(text).wavelength_nm for text in record.instrument.split("; ")] == [
        393.4,
        617.3,
        854.2,
        656.3,
    ]
    assert len(PUBLISHED_INSTRUMENTS) == 4
    generator = torch.Generator().manual_seed(1)
    image, modes = (torch.rand(1, c, 32, 48, generator=generator) for c in (1, MODES))
    one_hot = torch.eye(4)[2:3]
    peak = image.max()
    expected = peak * applied(tensors, image / peak, modes * net.mode_scale[:, None, None], one_hot)
    with torch.no_grad():
        torch.testing.assert_close(net(image, modes, one_hot), expected, rtol=1e-4, atol=1e-5)
