"""SV-MOMFBD: blind deconvolution with PSFs that vary from place to place, objects and a grid of modes sought
together.

Asensio Ramos (2024), the loss of eq. 17 with the filter of eq. 16; the forward model is filter flow. By
default the patches of `momfbd` give the modes, conjugate gradients the objects, and both are then refined in
turns on the space-variant model; the paper's recipe, both at once by AdamW from the average, is there too.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from heliorestore.budget import budget_bytes, share
from heliorestore.burst import Burst
from heliorestore.instrument import Instrument
from heliorestore.methods.blind.emulated import emulated, emulator_layout, load_emulator
from heliorestore.methods.blind.forward import Flow, MakeModel, PlanLayout, filter_flow
from heliorestore.methods.blind.object_solver import Knobs
from heliorestore.methods.blind.parts import make_layout
from heliorestore.methods.blind.patch_fit import (
    PatchProblem,
    PatchState,
    advanced,
    evaluate,
    initial,
    make_problem,
    patch_images,
)
from heliorestore.methods.blind.refinement import (
    Earlier,
    FlowState,
    add_patch_modes,
    begin,
    flow_state_bytes,
    joint_step,
    make_flow_problem,
    measure,
    refine_step,
)
from heliorestore.methods.blind.settings import ASSUMED_R0_CM, BlindSettings
from heliorestore.methods.checkpoint import Saver, resume
from heliorestore.optics.penalties import Kind
from heliorestore.prepare.observe import observe, preparation
from heliorestore.settings import option, weights_option
from heliorestore.snapshot import DATA_UNIT, NODE_AXES, Map, Snapshot, StopReason

_RATES = (10**-1.7, 10**-0.5)  # of objects and modes in the paper's recipe
# Where the fit begins that is told nothing: from weak turbulence it finds the way to strong one, and not
# back.
_FIRST_R0_CM = 20.0
_FLUX_WORTH = 7e-3  # saying
_PATCH_MODES = 44  # that patches are fitted with; the field adds the finer ones
_WORDS = ("average", "patches")  # that `start` may be besides a file


@dataclass(frozen=True, kw_only=True)
class SvMomfbdSettings(BlindSettings):
    """Settings of the spatially variant MOMFBD."""

    method: ClassVar[str] = "sv-momfbd"

    lambda_object: float = option(
        0.02,
        minimum=0.0,
        maximum=10.0,
        live=True,
        log=True,
        help="Smoothness of the object: 0.01 to 0.1 is useful, 1 damps.",
    )
    lambda_modes: float = option(
        0.01,
        minimum=0.0,
        maximum=10.0,
        live=True,
        log=True,
        help="Smoothness of the wavefronts from node to node of their grid.",
    )
    iterations: int = option(
        60, minimum=1, maximum=10_000, live=True, help="Iterations, on patches and on the whole field."
    )
    patch_iterations: int = option(
        12, minimum=0, maximum=10_000, help="How many of the iterations are on patches."
    )
    start: str = option(
        "patches", help="Where to begin: average, patches, or a FITS file with an earlier result."
    )
    optimiser: Literal["alternating", "adamw"] = option(
        "alternating",
        help="Objects solved for in every iteration, or the paper's AdamW on objects and modes at once.",
    )
    forward: Literal["filter-flow", "emulator"] = option(
        "filter-flow",
        help="Model of the space-variant blur; with the emulator, a network, objects and "
        "modes are sought at once by adamw.",
    )
    emulator: str = weights_option(
        "emulator-narrow", of="emulator", help="Name or file of the emulator's weights."
    )
    grid_step: int = option(
        32, unit="px", minimum=4, maximum=256, help="Distance of the nodes at which wavefronts are sought."
    )
    patch: int = option(
        96, unit="px", minimum=16, maximum=512, help="Side of the patches that give the start."
    )
    psf: int = option(
        96, unit="px", minimum=16, maximum=512, help="Side of the PSFs: larger for strong turbulence."
    )
    rate_modes: float = option(
        0.3,
        minimum=1e-3,
        maximum=1.0,
        live=True,
        log=True,
        help="Step of the modes per iteration, in sigmas.",
    )
    rate_objects: float = option(
        0.02,
        minimum=1e-4,
        maximum=1.0,
        live=True,
        log=True,
        help="Step of the objects with adamw, mean intensity 1.",
    )
    regulariser: Literal["tikhonov", "total-variation", "wavelet"] = option(
        "tikhonov", help="The penalty that lambda_object weighs."
    )
    positive: bool = option(False, help="Penalise negative intensities.")
    residual_frame: int | None = option(
        None, minimum=0, live=True, help="Show model minus data of this frame instead of the frames' rms."
    )
    stop_early: bool = option(
        True, live=True, help="Stop when the residual no longer falls, or has reached the noise."
    )

    def files(self) -> dict[str, Path]:
        """The earlier result that `start` names, if it names one."""
        return {} if self.start in _WORDS else {"start": Path(self.start).expanduser()}

    def knobs(self, weights: torch.Tensor) -> Knobs:
        """The part of the settings that the object solver takes."""
        kind: Kind = self.regulariser
        return Knobs(
            weights=weights,
            lambda_object=self.lambda_object,
            filter_width=self.filter_width,
            filter_smoothness=self.filter_smoothness,
            regulariser=kind,
            positive=self.positive,
            lambda_modes=self.lambda_modes,
            prior=self.prior,
            rate_modes=self.rate_modes,
            rate_objects=self.rate_objects,
        )

    @property
    def at_once(self) -> bool:
        """Whether AdamW seeks objects and modes at once: conjugate gradients need a model that is linear in
        the objects.
        """
        return self.optimiser == "adamw" or self.forward == "emulator"

    def learns_air(self, instruments: Sequence[Instrument]) -> bool:
        """Whether the strength of the turbulence comes from the data, with or without a given r0."""
        return not self.at_once and self.turbulent(instruments)

    @property
    def known_r0(self) -> bool:
        """Whether r0 is the user's."""
        return self.r0_cm is not None and not self.r0_from_data

    @classmethod
    def paper(cls, **changes: Any) -> SvMomfbdSettings:
        """The recipe of the paper: AdamW from the average with its rates, 30 iterations, modes not
        whitened.
        """
        recipe = {
            "optimiser": "adamw",
            "start": "average",
            "iterations": 30,
            "rate_objects": _RATES[0],
            "rate_modes": _RATES[1],
        }
        return cls(**{**recipe, "prior": 0.0, "left_out": 0.0, "lambda_object": 0.1, **changes})


@dataclass(frozen=True, eq=False)
class SvState:
    """Iterations done, and where patches, as long as they are needed, and flow stand.

    `began` is the step of the result that it began with, `on_patches` the step up to which iterations are on
    patches: settings that are turned later leave both as they are.
    """

    step: int
    patches: PatchState | None
    flow: FlowState
    began: int
    on_patches: int


class SvMomfbd:
    """The method as `methods.base` loads it."""

    name = SvMomfbdSettings.method
    settings = SvMomfbdSettings

    def stream(
        self,
        burst: Burst,
        settings: SvMomfbdSettings,
        *,
        device: torch.device,
        seed: int,
        start: Snapshot | None = None,
    ) -> Generator[Snapshot, SvMomfbdSettings | None, None]:
        """Yield a snapshot per iteration; nothing is random. `start` is an earlier result, as
        `settings.start` names in a file.

        Whoever sends settings after the last snapshot gets further iterations from there. A generator that is
        closed leaves its state in the checkpoint, also after the last snapshot; one that is exhausted leaves
        none.
        """
        saver = Saver(settings.checkpoint, burst, settings, start)
        restoration = _Restoration(burst, settings, device, start)
        state = resume(saver, restoration.initial())
        messages = restoration.messages
        try:
            while True:
                state, snapshot = restoration.iterate(state, settings)
                if snapshot.stop is not None:  # resuming resets the stall counter
                    state = replace(state, flow=replace(state.flow, stalled=0))
                sent = yield saver.noted(replace(snapshot, messages=messages + snapshot.messages), settings)
                if snapshot.stop is not None and sent is None:
                    break
                settings, messages = sent or settings, ()
                saver.save(state)
        except GeneratorExit:
            saver.write(state)
            raise
        saver.done()


METHOD = SvMomfbd()


class _Restoration:
    """What does not change while a burst is restored: data, optics, and the two problems."""

    def __init__(
        self, burst: Burst, settings: SvMomfbdSettings, device: torch.device, start: Snapshot | None
    ) -> None:
        memory = budget_bytes(settings.memory_gb, device)
        earlier = None if start is None else Earlier(start.images, start.array("modes"))
        self.began_at = start.step if start is not None else 0
        learns = settings.learns_air(burst.instruments)
        learns_r0 = learns and not settings.known_r0
        if learns_r0:
            settings = settings.replace(r0_cm=_FIRST_R0_CM)
        self.wavefronts = settings.wavefronts(burst.instruments, device)
        known_few = settings.replace(modes=min(_PATCH_MODES, settings.modes))
        shares = share(
            memory,
            burst.shape,
            flow_state_bytes(burst.shape, settings.modes, settings.grid_step, settings.psf),
        )
        self.observation = observe(
            burst, device, align=settings.align, destretch=settings.destretch, hold_bytes=shares.held
        )
        make: MakeModel = filter_flow
        plan: PlanLayout = make_layout
        self.messages = preparation(burst, self.observation)
        if settings.forward == "emulator":
            trained = load_emulator(settings.emulator, device)
            make, plan = emulated(trained), emulator_layout(trained.net.width)
            self.messages += (trained.message,)
        flow = Flow(
            self.observation, self.wavefronts, settings.psf, settings.grid_step, shares.work, make, plan
        )
        self.flow = make_flow_problem(
            flow,
            fitted=known_few.modes,
            patch=settings.patch if learns else 0,
            known_r0=not learns_r0,
        )
        wanted = settings.start == "patches" and not settings.at_once and earlier is None
        self.on_patches = min(settings.patch_iterations, settings.iterations - 1) if wanted else 0
        self.problem: PatchProblem | None = None
        # a run that goes on from a checkpoint may need it whatever its iterations are now
        if wanted and settings.patch_iterations > 0:
            self.problem = make_problem(
                self.observation,
                known_few.wavefronts(burst.instruments, device),
                (settings.patch, settings.patch // 2),
                shares.work,
            )
        self.earlier = earlier
        self.labels = burst.labels
        if settings.at_once and settings.r0_cm is None and settings.turbulent(burst.instruments):
            self.messages += (f"r0 = {ASSUMED_R0_CM:g} cm was assumed, and the contrast depends on it.",)

    def initial(self) -> SvState:
        patches = None if self.problem is None else initial(self.problem)
        return SvState(
            self.began_at,
            patches,
            begin(self.flow, self.earlier),
            self.began_at,
            self.began_at + self.on_patches,
        )

    def iterate(self, state: SvState, settings: SvMomfbdSettings) -> tuple[SvState, Snapshot]:
        """One iteration, and what it shows."""
        weights = settings.weights(self.observation.objects, self.observation.device)
        knobs = settings.knobs(weights)
        if state.step < state.on_patches and self.problem is not None and state.patches is not None:
            return self._on_patches(self.problem, state.patches, state, settings)
        if settings.at_once:
            flow, transfers = joint_step(self.flow, state.flow, knobs)
        else:
            flow = state.flow
            if self.problem is not None and state.patches is not None:
                flow = add_patch_modes(self.flow, flow, self.problem.patches, state.patches.modes)
            self.problem = None  # its spectra make room for transfer functions
            flow, transfers = refine_step(self.flow, flow, knobs)
        state = replace(state, step=state.step + 1, patches=None, flow=flow)
        shown = self.flow.given(flow.air)
        measured = measure(shown, flow, transfers, knobs, settings.residual_frame)
        snapshot = self._snapshot(
            state,
            settings,
            measured.images,
            shown.radian(flow.modes),
            measured.losses,
            residual=measured.residual,
        )
        stop = self._reason(state, settings)
        return state, replace(snapshot, stop=stop, messages=self._found(flow) if stop else ())

    def _found(self, flow: FlowState) -> tuple[str, ...]:
        """What the end of a run says of air and noise."""
        first = self.wavefronts.instruments[0]
        messages = []
        if self.flow.posterior is not None and not self.flow.known_r0:
            r0_cm = 100 * first.diameter_m / flow.air.d_over_r0
            messages.append(
                f"r0 was found from the data: {r0_cm:.1f} cm at {first.wavelength_nm:g} nm. Behind "
                "adaptive optics that is right to about 20 %; without them give the measured one (r0_cm), or "
                "the contrast may come out too high."
            )
        for label, flux in zip(self.labels, flow.flux.tolist(), strict=True):
            if flux > _FLUX_WORTH:
                messages.append(
                    f"At large scales the frames of {label} differ from the model by {100 * flux:.1f} %: a "
                    "smooth error of the flux (flat field, clouds, stray light), or strong seeing. The "
                    "wavefronts were fitted without these scales."
                )
        return tuple(messages)

    def _on_patches(
        self, problem: PatchProblem, patches: PatchState, state: SvState, settings: SvMomfbdSettings
    ) -> tuple[SvState, Snapshot]:
        weights = settings.weights(self.observation.objects, self.observation.device)
        evaluation = evaluate(problem, patches, weights, settings.prior, settings.lambda_modes / 0.01)
        images = patch_images(
            problem.patches, evaluation.restored, settings.filter_width, settings.filter_smoothness
        )
        rows, columns = (
            torch.arange(n, device=images.device) * settings.grid_step for n in self.flow.flow.grid
        )
        modes = problem.patches.at(patches.modes * problem.patches.wavefronts.sigmas, rows, columns)
        state = replace(
            state, step=state.step + 1, patches=advanced(problem, patches, evaluation, settings.rate_modes)
        )
        return state, self._snapshot(state, settings, images, modes, evaluation.losses)

    def _snapshot(
        self,
        state: SvState,
        settings: SvMomfbdSettings,
        images: torch.Tensor,
        modes: torch.Tensor,
        losses: dict[str, float],
        *,
        residual: torch.Tensor | None = None,
    ) -> Snapshot:
        scales = self.observation.scales[:, None, None]
        air = state.flow.air
        step, shown = float(settings.grid_step), self.observation.of_burst(modes.cpu().numpy())
        maps = {"modes": Map(shown, NODE_AXES, "rad", (step, step), signed=True)}
        if residual is not None and self.flow.posterior is not None:
            known = air.unknown * air.sigmas.square()
            maps["mode_sigmas"] = Map(air.sigmas.cpu().numpy(), ("mode",), "rad")
            maps["mode_variances"] = Map(known.cpu().numpy(), ("mode",), "rad2")
        if residual is not None:
            maps["residual"] = Map((residual * scales).cpu().numpy(), unit=DATA_UNIT, signed=True)
        total = max(state.began + settings.iterations, state.step)
        return Snapshot(
            step=state.step, total=total, images=(images * scales).cpu().numpy(), maps=maps, losses=losses
        )

    def _reason(self, state: SvState, settings: SvMomfbdSettings) -> StopReason | None:
        if state.step - state.began >= settings.iterations:
            return StopReason.DONE
        if not settings.stop_early or settings.at_once:
            return None
        if bool((state.flow.noise.level <= self.observation.sigmas.square()).all()):
            return StopReason.NOISE
        still = state.flow.stalled >= 3 and (state.flow.settled or self.flow.posterior is None)
        return StopReason.CONVERGED if still else None
