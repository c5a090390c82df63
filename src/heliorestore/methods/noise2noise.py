"""Noise2Noise: denoise polarised light with a network, trained before or on the observation itself.

Diaz Baso, de la Cruz Rodriguez & Danilovic (2019), doi:10.1051/0004-6361/201936069.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from heliorestore.burst import Burst
from heliorestore.errors import SettingsError, WeightsError
from heliorestore.methods.checkpoint import Saver, resume
from heliorestore.methods.denoising.pairs import (
    Aim,
    Group,
    Pairs,
    State,
    after_epoch,
    judge,
    train_epoch,
)
from heliorestore.methods.denoising.polarisation import Light, light_of, spectra, statistics
from heliorestore.methods.denoising.series import Job, Whole
from heliorestore.nets import weights
from heliorestore.nets.denoiser import DROPOUT, SMALLEST, Denoiser
from heliorestore.settings import Settings, option, weights_option
from heliorestore.snapshot import Map, Snapshot, StopReason

BUNDLED = "denoise-stokes"
_HIGHEST = 4.0  # largest log variance of a network that is fitted from scratch, in units of the noise
_PREVIEW_PIXELS = 1_000_000  # that are denoised after an epoch for display
# networks of one channel, without and with the second head
_OWN = ("denoiser-residual", "denoiser-uncertain")
_LATE = 0.5  # part of the epochs over which the learning rate falls


@dataclass(frozen=True, kw_only=True)
class DenoiseSettings(Settings):
    """Settings of Noise2Noise."""

    method: ClassVar[str] = "denoise"

    weights: str = weights_option(
        BUNDLED,
        of="denoiser",
        help="Name or file of the network's weights; `none` fits a new network, which needs fit above 0.",
    )
    fit: int = option(
        0,
        minimum=0,
        maximum=10_000,
        live=True,
        help="Epochs of training on the series itself; 0 applies the weights.",
    )
    uncertainty: bool = option(
        False, help="Add a map of the standard deviation; the time is that of all passes."
    )
    passes: int = option(
        8, minimum=2, maximum=1000, help="Passes under dropout for the uncertainty of the weights."
    )
    keep_wide: float | None = option(
        None,
        unit="px",
        minimum=0.0,
        maximum=1000.0,
        help="What is wider than this Gaussian is not removed; less keeps more of weak signals and noise, 0 "
        "leaves all to the network. By default 4 at most, as neighbouring frames tell. Not with weights "
        "fitted to a series.",
    )
    spectral: bool = option(
        False,
        help="Feed all wavelengths of a Stokes parameter together, for a network that was fitted that way.",
    )
    loss: Literal["L2", "L1"] = option(
        "L2", help="Loss that the training minimises; L1 where many pixels are outliers."
    )
    learning_rate: float = option(
        5e-4,
        minimum=1e-6,
        maximum=1e-1,
        live=True,
        log=True,
        help="Step of Adam; smaller towards the end.",
    )
    patches: int = option(500, minimum=10, maximum=1_000_000, help="Patches of 52 pixels per epoch.")
    patience: int = option(
        6,
        minimum=1,
        live=True,
        help="Epochs without a smaller hold-out loss before the training stops.",
    )
    frame: int = option(
        0,
        minimum=0,
        live=True,
        help="The frame that is shown during the run and is the main image of the file.",
    )
    series: bool = option(True, help="Denoise all frames; otherwise only the one that is shown.")
    checkpoint: str = option(
        "", help="File to save the training in every minute; a run that finds it continues from there."
    )
    keep: str = option("", help="Name under which the fitted weights are saved for other series.")


class Denoise:
    """The method as `methods.base` loads it."""

    name = DenoiseSettings.method
    settings = DenoiseSettings

    def stream(
        self,
        burst: Burst,
        settings: DenoiseSettings,
        *,
        device: torch.device,
        seed: int,
        start: Snapshot | None = None,
    ) -> Generator[Snapshot, DenoiseSettings | None, None]:
        """Yield a snapshot per epoch of training, then one per image of the series; the last one has all
        frames.

        The state of a run is its network: an interrupted run continues from its checkpoint, not from `start`.
        """
        saver = Saver(settings.checkpoint, burst, settings)
        job = prepare(burst, settings, device)
        done = 0
        if settings.fit:
            source = _fit(job, settings, seed, saver)
            sent: DenoiseSettings | None = None
            while True:
                try:
                    snapshot = source.send(sent)
                except StopIteration as end:
                    settings, done, stop = end.value
                    break
                sent = yield snapshot
            _keep(job, settings)
        else:
            stop = StopReason.DONE
        for snapshot in _apply(job, settings, seed, done, stop):
            yield saver.noted(snapshot, settings)
        if settings.fit:
            saver.done()


METHOD = Denoise()


# -- planning the run ----------------------------------------------------------------------------------------


def prepare(burst: Burst, settings: DenoiseSettings, device: torch.device) -> Job:
    """Choose network, objects and normalisation, or report why this is impossible."""
    if settings.weights == "none" and not settings.fit:
        raise SettingsError(
            "Without weights there is nothing to apply: fit a network on the series (--fit "
            "20), or choose weights."
        )
    if settings.frame >= burst.shape[1]:
        raise SettingsError(
            f"frame is {settings.frame}, but the burst has {burst.shape[1]} frames, numbered from 0."
        )
    if min(burst.shape[2:]) < SMALLEST:
        raise SettingsError(
            f"Images of {burst.shape[2]} x {burst.shape[3]} pixels are too small; the smallest possible "
            f"are {SMALLEST} x {SMALLEST}."
        )
    if settings.keep:
        _check_keep(settings)
    light = tuple(light_of(burst, k) for k in range(burst.shape[0]))
    groups, messages = _groups(burst, light, spectral=settings.spectral)
    net, architecture, unit, said = _network(settings, len(groups[0]))
    messages += said
    units = (
        np.array([each.noise for each in light])
        if unit == "noise"
        else np.full(len(light), _fixed_unit(unit, light))
    )
    # The networks know light around zero: an intensity is given less its median.
    levels = np.array([each.level if each.is_intensity else 0.0 for each in light])
    if unit == "noise":
        typical = float(np.median([light[k].noise for group in groups for k in group]))
        messages += (
            f"Noise {typical:.3g} {burst.unit}".rstrip() + " (the median of the objects that are denoised).",
        )
    weights.place(net, device)
    wide = 0.0 if settings.fit or not _of_a_recipe(settings.weights) else settings.keep_wide
    job = Job(burst, net.eval(), architecture, unit, device, light, groups, units, levels, messages, wide)
    job.show(settings.frame)
    return job


def _of_a_recipe(name: str) -> bool:
    """Whether the weights were trained by a recipe: neither fitted to a series nor published by others."""
    return bool(weights.read_record(weights.find(name)).recipe)


def _check_keep(settings: DenoiseSettings) -> None:
    if not settings.fit:
        raise SettingsError("Only fitted weights can be saved: --keep needs --fit.")
    weights.check_name(settings.keep)


def _groups(
    burst: Burst, light: Sequence[Light], *, spectral: bool
) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """The objects that enter the network together; beside polarised light intensities stay as they are."""
    groups = spectra(burst) if spectral else [(k,) for k in range(len(light))]
    polarised = [group for group in groups if not any(light[k].is_intensity for k in group)]
    if not polarised:
        return tuple(groups), (
            "All objects are intensities: their median was subtracted for the network and added again.",
        )
    left = [burst.labels[k] for group in groups if group not in polarised for k in group]
    if not left:
        return tuple(polarised), ()
    names = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    return tuple(polarised), (f"Only polarised light was denoised, intensities are unchanged: {names}.",)


def _network(settings: DenoiseSettings, channels: int) -> tuple[Denoiser, str, str, tuple[str, ...]]:
    """The network to start from, its name, the unit of its images, and messages about it."""
    if settings.weights == "none":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = Denoiser(
                channels,
                residual=True,
                log_variance=_HIGHEST if settings.uncertainty else None,
                dropout=DROPOUT,
            )
        return net, _OWN[settings.uncertainty], "noise", ("A new network was fitted to this series.",)
    loaded, record = weights.load(settings.weights)
    if not isinstance(loaded, Denoiser):
        raise WeightsError(
            f"The weights {settings.weights} are of the network {record.architecture}; denoising needs "
            f"weights of its own networks, such as {BUNDLED}."
        )
    if loaded.channels != channels:
        raise SettingsError(
            f"The network of {settings.weights} takes {loaded.channels} wavelengths at once, but here "
            f"{channels} enter together: for spectra fit a new one (--spectral --weights none --fit "
            "20); use a network of one wavelength without --spectral."
        )
    if settings.uncertainty and loaded.highest is None:
        raise WeightsError(
            f"The network of {settings.weights} does not estimate its uncertainty: choose "
            f"{BUNDLED}, or fit a new one."
        )
    return (
        loaded,
        record.architecture,
        record.normalisation,
        (f"Weights {record.name}, sha256 {record.sha256}.",),
    )


def _fixed_unit(normalisation: str, light: Sequence[Light]) -> float:
    """The network's unit in that of the burst: the continuum, from the brightest Stokes I, if not 1."""
    if normalisation.startswith("times "):
        return 1 / float(normalisation.removeprefix("times "))
    if normalisation not in ("continuum", ""):
        raise WeightsError(
            f"The weights take images normalised to {normalisation!r}; possible are noise, "
            "continuum, and times a factor."
        )
    # Between a third and three the image is taken to be in units of the continuum already.
    brightest = max((each.level for each in light if each.is_intensity), default=1.0)
    return 1.0 if 0.3 < brightest < 3 else brightest


# -- training on the series ----------------------------------------------------------------------------------


def _fit(
    job: Job, settings: DenoiseSettings, seed: int, saver: Saver
) -> Generator[Snapshot, DenoiseSettings | None, tuple[DenoiseSettings, int, StopReason]]:
    """Train on neighbouring times, a snapshot per epoch; leaves the best weights by the hold-out."""
    strengths = [float(np.mean([job.light[k].strength for k in group])) for group in job.groups]
    pairs = Pairs(
        job.read, job.groups, strengths, job.burst.shape[1], (job.burst.shape[2], job.burst.shape[3])
    )
    variance = float(
        np.mean([(job.light[k].noise / job.units[k]) ** 2 for group in job.groups for k in group])
    )
    aim = Aim(settings.loss, settings.uncertainty, variance)
    optimiser = torch.optim.Adam(job.net.parameters(), lr=settings.learning_rate)
    held_out = pairs.held_out()
    # The network as it came is the one to beat.
    first = State(
        0,
        job.net.state_dict(),
        optimiser.state_dict(),
        weights.copied(job.net),
        judge(job.net, held_out, aim, job.device),
    )
    state = resume(saver, first)
    job.net.load_state_dict(state.net)
    if state.epoch:
        optimiser.load_state_dict(state.optimiser)
    turn = 0
    try:
        while state.epoch < settings.fit and state.epoch - state.best_epoch < settings.patience:
            for each in optimiser.param_groups:
                # Constant, then linear to zero: small steps average over the batches.
                each["lr"] = settings.learning_rate * min(
                    1.0, (settings.fit - state.epoch) / (_LATE * settings.fit)
                )
            # Seeded by the epoch: a resumed training takes the same steps.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(hash((seed, state.epoch)))
                batches = pairs.batches(
                    np.random.default_rng((seed, state.epoch)), settings.patches, spectral=settings.spectral
                )
                trained = train_epoch(job.net, optimiser, batches, aim, job.device)
            held = judge(job.net, held_out, aim, job.device)
            state = after_epoch(state, job.net, optimiser, {"training": trained, "hold_out": held})
            turn = _preview(job, settings, turn)
            job.fitted = state.losses
            total = settings.fit + _count(job, settings)
            shown = job.snapshot(state.epoch, total, job.residual(), state.losses)
            shown = saver.noted(shown, settings)
            saver.save(state)
            sent = yield shown
            settings = sent or settings
    finally:
        saver.leave(state)
    job.net.load_state_dict(state.best)
    job.messages += (
        f"Fitted in {state.epoch} epochs; the weights of epoch {state.best_epoch} had the "
        "smallest hold-out loss.",
    )
    return settings, state.epoch, StopReason.DONE if state.epoch >= settings.fit else StopReason.CONVERGED


def _preview(job: Job, settings: DenoiseSettings, turn: int) -> int:
    """Denoise the shown frame of the strongest group and some others in turn; returns the next turn."""
    job.show(min(settings.frame, job.burst.shape[1] - 1))
    # The strongest signal first: there a user sees at once whether the fit works.
    order = sorted(range(len(job.groups)), key=lambda g: -job.light[job.groups[g][0]].strength)
    pixels = len(job.groups[0]) * job.burst.shape[2] * job.burst.shape[3]
    count = min(len(order), max(1, _PREVIEW_PIXELS // pixels))
    # The others take turns, so that all are seen after some epochs.
    chosen = [order[0]] + [order[1 + (turn + n) % (len(order) - 1)] for n in range(count - 1)]
    for number in chosen:
        job.put(job.groups[number], job.denoised(job.groups[number], job.frame)[0])
    return turn + count - 1


def _keep(job: Job, settings: DenoiseSettings) -> None:
    """Save the fitted network with the user's weights, if a name was given."""
    if not settings.keep:
        return
    wanted = _OWN[settings.uncertainty] if job.architecture.partition(":")[0] in _OWN else job.architecture
    wanted += f":{job.net.channels}" if job.net.channels > 1 else ""
    kept = weights.build(wanted)
    own = job.net.state_dict()
    # A second head that was not trained with the first no longer fits it, and is left out.
    kept.load_state_dict({name: own[name] for name in kept.state_dict()})
    record = weights.WeightsRecord(
        name=settings.keep,
        architecture=wanted,
        kind="polarisation",
        normalisation=job.normalisation,
        data=", ".join(sorted({source.path.name for source in job.burst.sources})),
        training=f"fitted to this series for {settings.fit} epochs at most, starting from {settings.weights}",
    )
    saved = weights.save(kept, record, weights.folders()[0])
    job.messages += (f"The fitted weights are saved as {settings.keep} in {saved.parent}.",)


# -- the series ----------------------------------------------------------------------------------------------


def _count(job: Job, settings: DenoiseSettings) -> int:
    """Number of images to denoise."""
    return len(job.groups) * (job.burst.shape[1] if settings.series else 1)


def _apply(job: Job, settings: DenoiseSettings, seed: int, done: int, stop: StopReason) -> Iterator[Snapshot]:
    """Denoise the shown frame of all objects, then the others; the last snapshot has the whole series."""
    job.show(min(settings.frame, job.burst.shape[1] - 1))
    shown = job.frame
    # The frame that the user looks at comes first.
    frames = [shown, *(f for f in range(job.burst.shape[1]) if f != shown)] if settings.series else [shown]
    passes = settings.passes if settings.uncertainty else 0
    whole = Whole.of(job.burst, len(frames) > 1, bool(passes))
    total, step = done + len(job.groups) * len(frames), done
    maps: dict[str, Map] = {}
    for frame in frames:
        for number, group in enumerate(job.groups):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(hash((seed, frame, number)))
                images, sigma = job.denoised(group, frame, passes)
            whole.take(group, frame, images, sigma)
            step += 1
            if frame == shown:
                job.put(group, images)
            if step < total:
                yield job.snapshot(step, total, maps, {})
        if frame == shown:
            maps = job.residual()
            for array in (job.images, job.coverage):
                array.flags.writeable = False  # so that the snapshots need not copy them
    job.messages += tuple(job.said())
    yield job.snapshot(total, total, maps | whole.maps(shown), job.fitted | _judged(job), stop=stop)


def _judged(job: Job) -> dict[str, float]:
    """The statistics of the residuals, averaged over the denoised objects."""
    facts = [
        statistics(job.observed[k] - job.images[k], job.light[k].noise) for group in job.groups for k in group
    ]
    names = dict.fromkeys(name for each in facts for name in each)
    return {name: float(np.mean([each[name] for each in facts if name in each])) for name in names}
