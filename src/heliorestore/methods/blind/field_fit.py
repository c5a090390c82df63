"""Iterations on patches, then on the whole field: the course of a restoration by SV-MOMFBD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import SettingsError
from heliorestore.instrument import Instrument
from heliorestore.methods.blind.air import usual_r0_cm
from heliorestore.methods.blind.anchors import ANCHOR, on_field, wide_band_of
from heliorestore.methods.blind.emulated import emulated, load_emulator
from heliorestore.methods.blind.fetch import fetched
from heliorestore.methods.blind.field_plan import plan_field
from heliorestore.methods.blind.field_settings import SvMomfbdSettings
from heliorestore.methods.blind.forward import Flow, Transfers
from heliorestore.methods.blind.image_error import image_error
from heliorestore.methods.blind.measured import Measured, measure
from heliorestore.methods.blind.model import MakeModel, filter_flow
from heliorestore.methods.blind.object_solver import Knobs
from heliorestore.methods.blind.patch_fit import (
    PatchProblem,
    PatchState,
    advanced,
    coarse_first,
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
    joint_step,
    make_flow_problem,
    object_step,
    refine_step,
    turned,
)
from heliorestore.methods.blind.settings import ASSUMED_R0_CM
from heliorestore.methods.blind.verdict import verdicts
from heliorestore.prepare.observe import in_words, observe
from heliorestore.snapshot import DATA_UNIT, NODE_AXES, Map, Snapshot, StopReason

# In units of the usual r0, where the fit begins: from weak turbulence it finds the way to strong one, and not
# back.
_FIRST_R0 = 1.9
_FLUX_WORTH = 7e-3  # saying


@dataclass(frozen=True, eq=False)
class FieldState:
    """Iterations done, and where patches, as long as they are needed, and flow stand.

    `began` is the step of the result that it began with, `on_patches` the step up to which iterations are on
    patches: settings that are turned later leave both as they are.
    """

    step: int
    patches: PatchState | None
    flow: FlowState
    began: int
    on_patches: int


class FieldFit:
    """What does not change while a burst is restored: data, optics, and the two problems.

    With `between`, which is called between small parts of the work and may raise to end an iteration without
    a result, the transfer functions of the state are kept for the next try, where there is room.
    """

    _known: Transfers | None = None  # the model of the last state
    _used: Transfers | None = None  # one that is no longer needed

    def __init__(
        self,
        burst: Burst,
        settings: SvMomfbdSettings,
        device: torch.device,
        start: Snapshot | None,
        between: Callable[[], None] | None = None,
    ) -> None:
        plan = plan_field(burst.shape, settings, device)
        earlier = None if start is None else Earlier(start.images, start.array("modes"))
        self.began_at = 0 if start is None else _counted_from(start, settings.iterations)
        learns = settings.learns_air(burst.instruments)
        known_r0_cm = settings.r0_cm if learns and settings.known_r0 else None
        if learns:
            usual_cm = usual_r0_cm(burst.instruments[0].require())
            settings = settings.replace(r0_cm=max(_FIRST_R0 * usual_cm, known_r0_cm or 0.0))
        self.wavefronts = settings.wavefronts(burst.instruments, device)
        known_few = settings.replace(modes=plan.patch_modes)
        self.observation = observe(
            burst, device, align=settings.align, destretch=settings.destretch, hold_bytes=plan.shares.held
        )
        make, message = _model(settings, burst.instruments, device, between)
        self._tried_again = between is not None
        self.messages = in_words(burst, self.observation) + message
        one = settings.one_object(burst)
        if one and settings.forward == "emulator":
            raise SettingsError("The emulator knows no phase diversity: use --forward filter-flow.")
        size, step, work = settings.psf, settings.grid_step, plan.shares.work
        flow = Flow(self.observation, self.wavefronts, size, step, work, make, plan.make_layout, one)
        self.flow = make_flow_problem(
            flow,
            fitted=known_few.modes,
            patch=settings.patch if learns else 0,
            known_r0_cm=known_r0_cm,
            corrected=settings.air != "uncorrected",
        )
        wanted = plan.on_patches and earlier is None
        self.on_patches = min(settings.patch_iterations, settings.iterations - 1) if wanted else 0
        self.problem: PatchProblem | None = None
        # a run that goes on from a checkpoint may need it whatever its iterations are now
        if wanted:
            self.problem = make_problem(
                self.observation,
                known_few.wavefronts(burst.instruments, device),
                plan.patches,
                plan.shares.work,
                one_object=one,
                exact_flux=one,
            )
        self.earlier = earlier
        self.step = start.step if start is not None else 0
        self.labels, self.wide_band = burst.labels, wide_band_of(burst)
        if settings.at_once and settings.r0_cm is None and settings.turbulent(burst.instruments):
            self.messages += (f"r0 = {ASSUMED_R0_CM:g} cm was assumed, and the contrast depends on it.",)

    def initial(self) -> FieldState:
        patches = None if self.problem is None else initial(self.problem)
        return FieldState(
            self.step,
            patches,
            begin(self.flow, self.earlier),
            self.began_at,
            self.began_at + self.on_patches,
        )

    def iterate(
        self, state: FieldState, settings: SvMomfbdSettings, messages: tuple[str, ...] = ()
    ) -> tuple[FieldState, Snapshot]:
        """One iteration, and what it shows, with messages besides its own."""
        weights = settings.weights(self.observation.objects, self.observation.device)
        knobs = settings.knobs(weights)
        if state.step < state.on_patches and self.problem is not None and state.patches is not None:
            return self._on_patches(self.problem, state.patches, state, settings, messages)
        flow, transfers = self._stepped(state, settings, knobs)
        state = replace(state, step=state.step + 1, patches=None, flow=flow)
        shown = self.flow.given(flow.air)
        measured = measure(shown, flow, transfers, knobs, settings.residual_frame)
        self._known = None if settings.at_once else transfers
        modes = shown.radian(flow.modes)
        return state, self._snapshot(state, settings, measured, modes, messages)

    def _stepped(
        self, state: FieldState, settings: SvMomfbdSettings, knobs: Knobs
    ) -> tuple[FlowState, Transfers]:
        """One step on the whole field, and the model with its modes."""
        flow = state.flow
        if settings.at_once:
            return joint_step(self.flow, flow, knobs)
        if turned(flow, knobs):
            transfers = self.flow.model(flow, self._known)
            return object_step(self.flow, flow, transfers, knobs), transfers
        if self.problem is not None and state.patches is not None:
            flow = add_patch_modes(self.flow, flow, self.problem.patches, state.patches.modes)
            self.problem = replace(self.problem, spectra=None)  # room for transfer functions
        if self._tried_again and self.flow.flow.layout.spare:
            used, self._used = self._used, None
        else:
            used, self._known = self._known, None
        flow, transfers = refine_step(self.flow, flow, knobs, used)
        self._used = self._known
        return flow, transfers

    def ended(self, state: FieldState, settings: SvMomfbdSettings, last: Snapshot) -> Snapshot:
        """The last snapshot of a run with what only its end has: the standard error of its images, and what
        it says of air and noise. `last` is the one that `iterate` gave with this state.
        """
        messages, maps = last.messages + self._found(state.flow), dict(last.maps)
        if self._known is not None and not settings.at_once:
            knobs = settings.knobs(settings.weights(self.observation.objects, self.observation.device))
            error = image_error(self.flow, state.flow, self._known, knobs)
            flow = self.flow.flow
            images = flow.sharp(state.flow.objects, knobs)[(slice(None), *flow.inner)]
            messages += verdicts(images, error, self.labels, state.flow.air.d_over_r0)
            scales = self.observation.scales[:, None, None]
            sigma = error.sigma * scales
            maps["uncertainty"] = Map(sigma.cpu().numpy(), unit=DATA_UNIT)
            if (wide := self.wide_band) is not None:
                # whose own transfer functions take the place of these
                (seen, modes), self._known = (self._known.flow, self._known.modes), None
                anchors = on_field(seen, modes, state.flow.objects, knobs, wide)
                maps[ANCHOR] = Map((anchors * scales[wide]).cpu().numpy(), unit=DATA_UNIT)
        return replace(last, maps=maps, messages=messages)

    def _found(self, flow: FlowState) -> tuple[str, ...]:
        """What the end of a run says of air and noise."""
        first = self.wavefronts.instruments[0]
        messages = []
        if self.flow.posterior is not None and self.flow.known_r0_cm is None:
            r0_cm = 100 * first.diameter_m / flow.air.d_over_r0
            advice = (
                "Behind adaptive optics that is mostly right to 15 %. Without them say so (air uncorrected), "
                "and in very bad air give the measured one (r0_cm), or the contrast may be wrong by a half."
                if self.flow.corrected
                else "Without adaptive optics that is mostly right to 25 %: a measured one (r0_cm) is better."
            )
            if not flow.settled:
                advice = "It had not settled yet: more iterations may change it, and with it the contrast."
            messages.append(
                f"r0 was found from the data: {r0_cm:.1f} cm at {first.wavelength_nm:g} nm. {advice}"
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
        self,
        problem: PatchProblem,
        patches: PatchState,
        state: FieldState,
        settings: SvMomfbdSettings,
        messages: tuple[str, ...],
    ) -> tuple[FieldState, Snapshot]:
        weights = settings.weights(self.observation.objects, self.observation.device)
        evaluation = evaluate(problem, patches, weights, settings.prior, settings.lambda_modes / 0.01)
        images = patch_images(
            problem.patches, evaluation.restored, settings.filter_width, settings.filter_smoothness
        )
        rows, columns = (
            torch.arange(n, device=images.device) * settings.grid_step for n in self.flow.flow.grid
        )
        modes = problem.patches.at(patches.modes * problem.patches.wavefronts.sigmas, rows, columns)
        count = coarse_first(
            state.step - state.began, state.on_patches - state.began, problem.patches.wavefronts.count
        )
        state = replace(
            state,
            step=state.step + 1,
            patches=advanced(problem, patches, evaluation, settings.rate_modes, count),
        )
        measured = Measured(images, evaluation.losses)
        return state, self._snapshot(state, settings, measured, modes, messages)

    def _snapshot(
        self,
        state: FieldState,
        settings: SvMomfbdSettings,
        measured: Measured,
        modes: torch.Tensor,
        messages: tuple[str, ...],
    ) -> Snapshot:
        shown = self._shown(state.flow, measured, modes)
        modes_of_burst = self.observation.of_burst(shown["modes"])
        step, on_patches = float(settings.grid_step), measured.residual is None
        maps = {"modes": Map(modes_of_burst, NODE_AXES, "rad", (step, step), signed=True)}
        if not on_patches and self.flow.posterior is not None:
            maps["mode_sigmas"] = Map(shown["sigmas"], ("mode",), "rad")
            maps["mode_variances"] = Map(shown["unknown"] * shown["sigmas"] ** 2, ("mode",), "rad2")
        if not on_patches:
            maps["residual"] = Map(shown["residual"], unit=DATA_UNIT, signed=True)
        total = max(state.began + settings.iterations, state.step)
        return Snapshot(
            step=state.step,
            total=total,
            images=shown["images"],
            maps=maps,
            losses={name: float(shown[f"losses {name}"]) for name in measured.terms},
            stop=None if on_patches else self._reason(state, settings, shown),
            stages=(("patches", state.on_patches), ("whole field", total))[state.on_patches <= state.began :],
            messages=messages,
        )

    def _shown(self, flow: FlowState, measured: Measured, modes: torch.Tensor) -> dict[str, FloatArray]:
        """All that a snapshot shows and the end of the run depends on, in one copy from the device."""
        scales, level = self.observation.scales[:, None, None], flow.noise.level
        parts: dict[str, torch.Tensor | float] = {
            "images": self.observation.where_seen(measured.images * scales),
            "modes": modes,
            "sigmas": flow.air.sigmas,
            "unknown": flow.air.unknown,
            "quiet": (level <= self.observation.sigmas.square()).all(),
            "stalled": flow.stalled,
        }
        if measured.residual is not None:
            parts["residual"] = measured.residual * scales
        parts |= {f"losses {name}": value for name, value in measured.terms.items()}
        return fetched(parts)

    def _reason(
        self, state: FieldState, settings: SvMomfbdSettings, shown: Mapping[str, FloatArray]
    ) -> StopReason | None:
        if state.step - state.began >= settings.iterations:
            return StopReason.DONE
        if not settings.stop_early or settings.at_once:
            return None
        if self.flow.posterior is not None and not state.flow.settled:
            return None  # noisy frames are explained by many kinds of air
        if shown["quiet"]:
            return StopReason.NOISE
        return StopReason.CONVERGED if shown["stalled"] >= 3 else None


def _counted_from(start: Snapshot, iterations: int) -> int:
    """The step from which the iterations of a run count: an unfinished result is led to its end."""
    return start.step if start.stop is not None else min(start.step, max(0, start.total - iterations))


def _model(
    settings: SvMomfbdSettings,
    instruments: tuple[Instrument, ...],
    device: torch.device,
    between: Callable[[], None] | None,
) -> tuple[MakeModel, tuple[str, ...]]:
    """What makes the forward model that the settings ask for, and what is to be said of it."""
    if settings.forward == "emulator":
        trained = load_emulator(settings.emulator, device)
        return emulated(trained), tuple(trained.messages(instruments))
    return filter_flow if between is None else partial(filter_flow, between=between), ()
