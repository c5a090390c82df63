"""MOMFBD on patches: blind deconvolution of a burst in overlapping patches, each with one PSF per frame, all
at once.

van Noort, Rouppe van der Voort & Loefdahl (2005), doi:10.1007/s11207-005-5782-z; the metric is in
`blind.patch_metric`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from heliorestore.budget import Shares, budget_bytes, share
from heliorestore.burst import Burst
from heliorestore.methods.blind.anchors import ANCHOR, on_patches, wide_band_of
from heliorestore.methods.blind.fetch import fetched
from heliorestore.methods.blind.patch_fit import (
    Evaluation,
    PatchProblem,
    PatchState,
    advanced,
    evaluate,
    initial,
    make_problem,
    patch_bytes,
    patch_images,
    patch_state_bytes,
)
from heliorestore.methods.blind.patches import Patches
from heliorestore.methods.blind.settings import BlindSettings
from heliorestore.methods.checkpoint import Saver, resume
from heliorestore.prepare.observe import in_words, observe
from heliorestore.settings import option
from heliorestore.snapshot import DATA_UNIT, NODE_AXES, Map, Snapshot, StopReason

# A run ends when so many iterations explain the held-out frequencies better by less than this fraction: long
# before they are explained worse, the error against the truth grows.
_PATIENCE, _GAIN = 9, 0.11
# iterations before that: from no aberrations the held-out frequencies are at first explained worse, or no
# better where noise is most of what is left of them
_UNJUDGED = 30


@dataclass(frozen=True, kw_only=True)
class MomfbdSettings(BlindSettings):
    """Settings of MOMFBD on patches."""

    method: ClassVar[str] = "momfbd"

    patch_step: int = option(
        32, unit="px", minimum=4, maximum=512, help="Distance from patch to patch; they must overlap."
    )
    iterations: int = option(
        60,
        minimum=1,
        maximum=10_000,
        live=True,
        help="Maximum number of iterations; too many fit what the model leaves out.",
    )
    stop_early: bool = option(
        True, live=True, help="Stop when frequencies kept out of the fit are hardly explained better."
    )


class Momfbd:
    """The method as `methods.base` loads it."""

    name = MomfbdSettings.method
    settings = MomfbdSettings

    def stream(
        self,
        burst: Burst,
        settings: MomfbdSettings,
        *,
        device: torch.device,
        seed: int,
        start: Snapshot | None = None,
    ) -> Generator[Snapshot, MomfbdSettings | None, None]:
        """Yield a snapshot per iteration; nothing is random. `start` gives the modes to begin with.

        A generator that is closed before it ends by itself leaves its state in the checkpoint.
        """
        saver = Saver(settings.checkpoint, burst, settings, start)
        wavefronts = settings.wavefronts(burst.instruments, device)
        shares, _ = plan_memory(burst.shape, settings, device, len(set(burst.instruments)))
        observation = observe(
            burst, device, align=settings.align, destretch=settings.destretch, hold_bytes=shares.held
        )
        patches = (settings.patch, settings.patch_step)
        one, wide = settings.one_object(burst), wide_band_of(burst)
        problem = make_problem(observation, wavefronts, patches, shares.work, one_object=one, exact_flux=one)
        state, messages = resume(saver, initial(problem, start)), in_words(burst, observation)
        stop = None
        try:
            while stop is None:
                weights = settings.weights(burst.shape[0], device)
                evaluation = evaluate(problem, state, weights, settings.prior)
                state = judged(state, evaluation.losses["held out"])
                stop = reason(state, settings.iterations, settings.stop_early)
                shown = snapshot(problem, state, evaluation, settings, stop, messages)
                if stop is not None and wide is not None:
                    shown = with_anchors(shown, problem, state, settings, wide)
                # With the settings that are shown, and the history last, so that state and history agree
                # wherever the run is cut off.
                if stop is None:
                    state = advanced(problem, state, evaluation, settings.rate_modes)
                del evaluation  # the next one takes as much
                sent = yield saver.noted(shown, settings)
                settings, messages = sent or settings, ()
                if stop is None:
                    saver.save(state)
        except GeneratorExit:
            if stop is None:
                saver.leave(state)
            raise
        saver.done()


METHOD = Momfbd()


def plan_memory(
    burst_shape: tuple[int, int, int, int], settings: MomfbdSettings, device: torch.device, optics: int
) -> tuple[Shares, float]:
    """The shares of the memory that a run goes by, and bytes that it takes of them at its peak with so many
    distinct optics.
    """
    patches = settings.patch, settings.patch_step
    state = patch_state_bytes(burst_shape, *patches, settings.modes)
    shares = share(budget_bytes(settings.memory_gb, device), burst_shape, state)
    return shares, shares.held + shares.state + patch_bytes(
        burst_shape, *patches, shares.work, optics, device
    )


def judged(state: PatchState, held: float) -> PatchState:
    """The state with the held-out misfit taken down where it is a gain."""
    return replace(state, best=held, best_step=state.step) if held < state.best * (1 - _GAIN) else state


def reason(state: PatchState, iterations: int, stop_early: bool) -> StopReason | None:
    """Why to stop, if there is a reason."""
    if state.step >= iterations:
        return StopReason.DONE
    waited = state.step >= _UNJUDGED and state.step - state.best_step >= _PATIENCE
    return StopReason.CONVERGED if stop_early and waited else None


def snapshot(
    problem: PatchProblem,
    state: PatchState,
    evaluation: Evaluation,
    settings: MomfbdSettings,
    stop: StopReason | None,
    messages: tuple[str, ...],
) -> Snapshot:
    """The restored image and the mode maps of a state."""
    patches = problem.patches
    images = patch_images(patches, evaluation.restored, settings.filter_width, settings.filter_smoothness)
    found = fetched(
        {
            "images": patches.observation.where_seen(images * patches.observation.scales[:, None, None]),
            "modes": patches.maps(state.modes * patches.wavefronts.sigmas),
        }
    )
    modes = patches.observation.of_burst(found["modes"])
    return Snapshot(
        step=state.step,
        total=max(settings.iterations, state.step),
        images=found["images"],
        maps={"modes": Map(modes, NODE_AXES, "rad", *nodes(patches), signed=True)},
        losses=evaluation.losses,
        stop=stop,
        messages=messages,
    )


def with_anchors(
    shown: Snapshot, problem: PatchProblem, state: PatchState, settings: MomfbdSettings, wide: int
) -> Snapshot:
    """The snapshot with the wide band restored from the frames of each object."""
    images = on_patches(problem, state, wide, settings.filter_width, settings.filter_smoothness)
    scaled = images * problem.patches.observation.scales[wide]
    return replace(shown, maps={**shown.maps, ANCHOR: Map(scaled.cpu().numpy(), unit=DATA_UNIT)})


def nodes(patches: Patches) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean distances of the patches' centres and the place of the first one, (y, x) in pixels.

    The centres are evenly spread but for rounding; a patch that is alone along an axis is its own distance.
    """
    rows, columns = patches.places
    steps = [
        (centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else float(patches.size)
        for centres in (rows, columns)
    ]
    return (steps[0], steps[1]), (rows[0], columns[0])
