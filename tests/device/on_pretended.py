"""The pretended accelerator refuses what a GPU refuses, and sees what crosses over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

WRONG: dict[str, Callable[[torch.Tensor, torch.Tensor], object]] = {
    "sum": lambda there, here: there + here,
    "cat": lambda there, here: torch.cat([there, here]),
    "stack with a number": lambda there, here: torch.stack([there[0], here[0]]),
    "in place": lambda there, here: here.add_(there),
    "number into a tensor": lambda there, here: here * there[0],
    "numpy": lambda there, here: there.numpy(),
    "double": lambda there, here: there.double(),
    "double from there": lambda there, here: here.double().to(there.device),
    "network": lambda there, here: torch.nn.Linear(3, 1, device=there.device)(here),
}


@pytest.fixture
def pair(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    if device != "pretend":
        pytest.skip("only of a pretended one")
    return torch.ones(3, device=device), torch.ones(3)


@pytest.mark.parametrize("name", WRONG)
def test_what_a_gpu_refuses_is_refused(name: str, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        WRONG[name](*pair)


def test_what_a_gpu_does_is_done(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    there, here = pair
    assert (there + here.to(there.device)).sum().item() == 6
    assert (there * torch.tensor(2.0)).cpu().tolist() == [2.0, 2.0, 2.0]  # a number may be the CPU's
    assert torch.hann_window(4, device=there.device).cpu().tolist() == [0.0, 0.5, 1.0, 0.5]


def test_numbers_of_a_window_and_of_a_conjugation_are_there(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """A wrapper that does not notice enlarged outputs has an empty window, and one that only promises a
    conjugation the wrong sign: blind deconvolution gave NaN with them.
    """
    found = []
    for place in ("cpu", "pretend"):
        phase = torch.tensor([0.3, 1.0, 2.0], device=place).requires_grad_()
        wave = torch.polar(torch.ones(3, device=place), phase) * torch.hann_window(3, device=place)
        shifted = wave.conj() * torch.tensor([1j, 2.0, 3j], device=place)
        shifted.sum().abs().backward()
        assert phase.grad is not None
        found.append((shifted.detach().cpu(), torch.fft.fftfreq(5, device=place).cpu(), phase.grad.cpu()))
    for there, same in zip(*found, strict=True):
        torch.testing.assert_close(there, same)


def test_what_crosses_over_is_seen(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    from pretend_device import rules

    there, here = pair
    with rules() as watched:
        here.to(there.device)
        there.copy_(here[:1].expand(3))
        there.cpu()
        here.copy_(there)
        float(there[0])
        bool((there > 0).all())
        there[there > 0]
        there.tolist()
        torch.equal(there, there)
    assert watched.sent == [12, 12]
    assert watched.fetched == [12, 12]
    assert len(watched.waits) == 5
