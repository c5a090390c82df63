"""`heliorestore train`: recipe in, weights with their record out."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heliorestore.errors import SettingsError
from heliorestore.nets import weights
from heliorestore.storage import check_folder
from heliorestore.train import TRAINERS
from heliorestore.train.loop import CHECKPOINT, Progress, Task, train
from heliorestore.train.recipe import Recipe, from_table, read_table


@dataclass(frozen=True)
class Trainer:
    """The parts of a training that are specific to the networks of one method.

    `task` makes the data of a recipe, whose files are in a folder, `record` measures the trained network and
    describes its purpose, `start` sets the first weights where torch's own are not the best.
    """

    recipe: type[Any]  # its Recipe
    task: Callable[[Any, Path], Task]
    record: Callable[[nn.Module, Any, Any], weights.WeightsRecord]
    start: Callable[[nn.Module], None] = lambda net: None


def run(  # noqa: PLR0913 # one for each flag of the command
    method: str,
    source: str | Path,
    output: Path,
    *,
    data: Path,
    device: torch.device,
    resume: bool = False,
    seconds: float = math.inf,
    say: Callable[[str], None] = print,
) -> Path:
    """Train as the recipe says, in the folder `output`, and write the best weights and their record there;
    after so many seconds the checkpoint alone.
    """
    trainer = _trainer(method)
    check_folder(output)
    recipe: Recipe = from_table(trainer.recipe, read_table(source))
    # For the first weights; every step has a stream of its own.
    torch.manual_seed(recipe.seed)
    net = weights.build(recipe.architecture)
    began = ""
    if recipe.start:
        first, before = weights.load(recipe.start)
        net.load_state_dict(first.state_dict())
        began = (
            f"; they began as the weights {before.name} with the checksum {before.sha256[:16]}, "
            f"whose training was: {before.training}"
        )
    else:
        trainer.start(net)
    say(f"{recipe.name}: {sum(p.numel() for p in net.parameters())} trainable parameters; preparing scenes")
    task = trainer.task(recipe, data)
    progress = train(net, task, recipe, output, device=device, resume=resume, seconds=seconds, say=say)
    if progress.step < recipe.steps:
        return output / CHECKPOINT
    return finish(trainer, net, task, recipe, progress, output, began)


def finish(
    trainer: Trainer,
    net: nn.Module,
    task: Task,
    recipe: Recipe,
    progress: Progress,
    output: Path,
    began: str = "",
) -> Path:
    """Write the trained weights with the record of recipe, seed, data and measured quality; `began` describes
    the weights from which it started.
    """
    # The layout of the training is not stored.
    net.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload] # torch's stub lacks memory_format
    if recipe.half:
        net.half().float()  # the stored weights are measured, not the more precise ones
    record = dataclasses.replace(
        trainer.record(net, task, recipe),
        name=recipe.name,
        architecture=recipe.architecture,
        seed=recipe.seed,
        data=recipe.description,
        recipe=dataclasses.asdict(recipe),
        training=(
            f"{progress.step} steps of {recipe.batch} patches of {recipe.patch} pixels in "
            f"{progress.seconds:.0f} s; the weights are those of step {progress.best_step}, which had "
            f"the smallest validation loss{began}"
        ),
    )
    return weights.save(net, record, output, half=recipe.half)


def _trainer(method: str) -> Trainer:
    if method not in TRAINERS:
        raise SettingsError(f"There is no training for {method!r}; there is for {', '.join(TRAINERS)}.")
    module, _, attribute = TRAINERS[method].partition(":")
    trainer: Trainer = getattr(importlib.import_module(module), attribute)
    return trainer
