"""The training loop: resumable to the bit, its checkpoints written atomically, the best network kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from heliorestore.errors import RestorationError, pickle_trouble
from heliorestore.nets.weights import copied, on_cpu, place
from heliorestore.train import state_files
from heliorestore.train.recipe import Recipe

CHECKPOINT = "checkpoint.pt"
_FORMAT = 1


Inputs = torch.Tensor | tuple[torch.Tensor, ...]
"""The inputs of a network: one tensor, or several."""


class Task(Protocol):
    """What a network has to learn."""

    def batch(self, random: np.random.Generator, size: int, patch: int) -> tuple[Inputs, torch.Tensor]:
        """Inputs and targets of one step."""
        ...

    def validate(self, net: nn.Module) -> Mapping[str, float]:
        """Figures on scenes that no batch shows; `loss` decides which network is the best."""
        ...


@runtime_checkable
class WithLoss(Protocol):
    """A task whose loss is not the mean squared error."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor: ...


@runtime_checkable
class WithHeads(Protocol):
    """A task that calls the network itself, because it has more than one output."""

    def objective(self, net: nn.Module, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor: ...


@runtime_checkable
class Settling(Protocol):
    """Measures the statistics of batch normalisations again: the running ones lag behind the weights."""

    def settle(self, net: nn.Module) -> None: ...


@runtime_checkable
class OnDevice(Protocol):
    """A task that makes its batches where the network is."""

    def to(self, device: torch.device) -> None: ...


@dataclass
class Progress:
    """The progress of a training, which a checkpoint keeps beside the tensors."""

    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    best_step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def train(  # noqa: PLR0913 # one for each flag of the command
    net: nn.Module,
    task: Task,
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device,
    resume: bool = False,
    seconds: float = math.inf,
    say: Callable[[str], None] = print,
) -> Progress:
    """Train `net` to the recipe's last step, or for so many seconds, and leave the best weights in it;
    `folder` holds the checkpoint.

    The random numbers of a step come from the seed and the step's number, so that a resumed run takes the
    same steps.
    """
    place(net, device)
    if isinstance(task, OnDevice):
        task.to(device)
    # The gradient of l2 |w|^2 is 2 l2 w.
    optimiser = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate, weight_decay=2 * recipe.l2)
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress()
    best = copied(net)
    if resume:
        progress, best = _load(folder / CHECKPOINT, net, optimiser)
        say(f"continuing after step {progress.step} of {recipe.steps}")
    elif (folder / CHECKPOINT).exists():
        raise RestorationError(
            f"{folder / CHECKPOINT} exists: continue it with --resume, or choose another folder with -o."
        )
    held = _hold(net, recipe, progress.step)
    began, before, losses = time.perf_counter(), progress.seconds, list[torch.Tensor]()
    while progress.step < recipe.steps:
        losses.append(_step(net, task, recipe, optimiser, progress.step, device))
        progress.step += 1
        if time.perf_counter() - began > seconds and progress.step < recipe.steps:
            progress.seconds = before + time.perf_counter() - began
            _save(folder / CHECKPOINT, net, optimiser, progress, best)
            say(f"stopped after step {progress.step} of {recipe.steps}: continue it with --resume")
            break
        if progress.step % recipe.validate_every and progress.step < recipe.steps:
            continue
        figures = _figures(net, task, held=held)
        # `train()` has thawed the norms.
        held = _hold(net, recipe, progress.step)
        progress.seconds = before + time.perf_counter() - began  # after the device has finished
        shown = float(torch.stack(losses).cpu().double().mean())
        progress.history.append(
            {"step": progress.step, "seconds": round(progress.seconds, 1), "training_loss": shown} | figures
        )
        losses.clear()
        if figures["loss"] < progress.best:
            progress.best, progress.best_step, best = figures["loss"], progress.step, copied(net)
        _save(folder / CHECKPOINT, net, optimiser, progress, best)
        say(_line(progress, recipe, best_now=progress.best_step == progress.step))
    net.load_state_dict(best)
    net.eval()
    return progress


def _figures(net: nn.Module, task: Task, *, held: bool) -> dict[str, float]:
    """What the validation says."""
    # Frozen statistics are those that the network has learned with.
    if isinstance(task, Settling) and not held:
        task.settle(net)
    net.eval()
    figures = dict(task.validate(net))
    net.train()
    return figures


def _step(
    net: nn.Module,
    task: Task,
    recipe: Recipe,
    optimiser: torch.optim.Optimizer,
    number: int,
    device: torch.device,
) -> torch.Tensor:
    """The loss of a step, left on the device: reading its value would make a GPU wait."""
    # A stream of its own for every step: the batch does not depend on where a run was resumed.
    random = np.random.default_rng((recipe.seed, number))
    inputs, targets = task.batch(random, recipe.batch, recipe.patch)
    targets = targets.to(device)
    for group in optimiser.param_groups:
        group["lr"] = recipe.rate(number)
    optimiser.zero_grad(set_to_none=True)
    parts = [_placed(part, device) for part in (inputs if isinstance(inputs, tuple) else (inputs,))]
    # bfloat16 has the range of float32, so the loss needs no scaling.
    half = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    if isinstance(task, WithHeads):
        with half:
            loss = task.objective(net, parts[0] if len(parts) == 1 else tuple(parts), targets)
    else:
        with half:
            outputs = net(*parts).float()
        loss = (
            task.loss(outputs, targets)
            if isinstance(task, WithLoss)
            else nn.functional.mse_loss(outputs, targets)
        )
    loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    optimiser.step()
    return loss.detach()


def _hold(net: nn.Module, recipe: Recipe, step: int) -> bool:
    """Freeze batch normalisations from the recipe's step on; returns whether they are frozen."""
    held = step > (1 - recipe.held) * recipe.steps
    if held:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    return held


def _placed(part: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on the device, images with their channels last."""
    return part.to(device, memory_format=torch.channels_last) if part.ndim == 4 else part.to(device)


def _line(progress: Progress, recipe: Recipe, *, best_now: bool) -> str:
    now = progress.history[-1]
    figures = "  ".join(
        f"{name} {value:.4g}" for name, value in now.items() if name not in ("step", "seconds")
    )
    left = (recipe.steps - progress.step) * progress.seconds / max(progress.step, 1)
    return (
        f"step {progress.step}/{recipe.steps}  {figures}{'  best' if best_now else ''}  "
        f"{progress.seconds:.0f} s, {left:.0f} s left"
    )


def _save(
    path: Path,
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    best: dict[str, torch.Tensor],
) -> None:
    state = {
        "format": _FORMAT,
        "net": copied(net),
        "progress": vars(progress),
        "best": best,
    }
    state_files.write(path, state, on_cpu(optimiser.state_dict()), progress.step)


def _load(
    path: Path, net: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[Progress, dict[str, torch.Tensor]]:
    try:
        state = state_files.read(path)
    except FileNotFoundError as error:
        missing = error.filename or path
        raise RestorationError(f"There is no {missing} to resume from: start without --resume.") from error
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise RestorationError(
            f"{path} cannot be read ({pickle_trouble(error)}): start without --resume."
        ) from error
    try:
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        return Progress(**state["progress"]), state["best"]
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise RestorationError(
            f"{path} belongs to another network or recipe: start without --resume in another folder."
        ) from error
