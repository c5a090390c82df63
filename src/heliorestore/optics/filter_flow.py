"""Space-variant convolution by filter flow: the PSFs stand at the nodes of a grid and are interpolated in
between.

Each node convolves the object around it by FFT (overlap-save); hat functions that sum to one blend the
results. The weights multiply the *output*: the image at a pixel is the object seen through the PSF
interpolated there (Hirsch et al. 2010, doi:10.1109/CVPR.2010.5540158; Denis et al. 2015,
doi:10.1007/s11263-015-0817-x). With equal modes everywhere it is the invariant convolution.

Light, transfer functions and products are computed for a batch of nodes at a time. Where there are many nodes
they are computed again for the gradient: then only object and modes are kept, and memory does not grow with
field and burst.

Where a frame has no image of an object nothing is computed for it: `shown` (object, frame) says which there
are, None that all are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from heliorestore.errors import SettingsError
from heliorestore.optics.convolve import Borders, extend, extend_adjoint, given_shape, margins, node_grid
from heliorestore.optics.node_patches import NodePatches, at_once
from heliorestore.optics.psf import Optics, intensity, intensity_gradient, light, psf
from heliorestore.optics.shown import Shown, run, runs

Spectra = tuple[torch.Tensor, ...]

_CPU_BATCH_BYTES = 1_600_000
_GPU_BATCH_BYTES = 150_000_000


def batch_bytes(device: torch.device) -> int:
    """Bytes of the spectra of an object at the nodes that are computed together."""
    return _CPU_BATCH_BYTES if device.type == "cpu" else _GPU_BATCH_BYTES


@dataclass(frozen=True, eq=False)
class _Group:
    """Objects (their positions in the list) with the same optics, and so the same PSFs."""

    optics: Optics
    members: tuple[int, ...]
    plan: NodePatches

    def frames(self, count: int, shown: Shown) -> Sequence[int]:
        """The frames that show one of its objects at least: of these it has transfer functions."""
        if shown is None:
            return range(count)
        found: list[int] = np.flatnonzero(shown[list(self.members)].any(0)).tolist()
        return found


@dataclass(frozen=True, eq=False)
class _Block:
    """Objects of the group `number` that have images in the same frames; `kept` is where these stand among
    the group's own.
    """

    number: int
    group: _Group
    members: tuple[int, ...]
    frames: Sequence[int]
    kept: Sequence[int]


@dataclass(frozen=True, eq=False, kw_only=True)
class FilterFlow:
    """The space-variant model: objects (object, y, x), modes (frame, mode, gy, gx) -> images (object, frame,
    y, x).

    `optics` has one entry per object; objects with the same entry share their PSFs, and others may have PSFs
    of another size. With `borders="given"` objects are larger than images by the margins of the largest PSF
    (`object_shape`).

    `node_batch` nodes are done at once (0: as suits the device). With `checkpoint` light and transfer
    functions are computed again for the gradient. Without it they are kept: 10 to 25 % faster, 21 MB per
    frame of 256 x 256 at step 16. None keeps them if they take no more than `kept_bytes`. `between` is called
    every few milliseconds, and may raise to end what is being computed.
    """

    optics: Sequence[Optics]
    shape: tuple[int, int]
    step: int = 16
    borders: Borders = "reflect"
    node_batch: int = 0
    checkpoint: bool | None = None
    kept_bytes: float = 256e6
    between: Callable[[], None] = at_once

    def __post_init__(self) -> None:
        if not self.optics:
            raise SettingsError("A forward model needs the optics of one object at least.")

    @cached_property
    def _groups(self) -> tuple[_Group, ...]:
        """Objects grouped by their optics."""
        members: dict[int, list[int]] = {}
        for index, optics in enumerate(self.optics):
            members.setdefault(id(optics), []).append(index)
        groups = []
        for indices in members.values():
            optics = self.optics[indices[0]]
            plan = NodePatches(self.shape, self.step, optics.size, self.node_batch, self.between)
            if not self.node_batch:
                # On a CPU the spectra of a batch should stay in its cache; a GPU wants much to do at once.
                room = batch_bytes(optics.modes.device)
                plan = dataclasses.replace(plan, batch=max(1, room // (4 * plan.length**2)))
            groups.append(_Group(optics, tuple(indices), plan))
        return tuple(groups)

    @property
    def grid(self) -> tuple[int, int]:
        return node_grid(self.shape, self.step)

    @property
    def object_shape(self) -> tuple[int, int]:
        return given_shape(self.shape, self._largest) if self.borders == "given" else self.shape

    @property
    def _largest(self) -> int:
        return max(optics.size for optics in self.optics)

    def __call__(self, objects: torch.Tensor, modes: torch.Tensor, shown: Shown = None) -> torch.Tensor:
        """Images; gradients go to the objects and to the modes."""
        self._check(objects, modes)
        coefficients = modes.permute(0, 2, 3, 1)  # (frame, gy, gx, mode)
        blocks = list(self._blocks(len(modes), shown))
        # Bytes: 8 per complex number.
        kept = 8 * sum(len(b.frames) * b.group.plan.values_kept(b.group.optics) for b in blocks)
        again = kept > self.kept_bytes if self.checkpoint is None else self.checkpoint
        again |= not torch.is_grad_enabled()  # nobody will ask for the gradient
        flow: Any = _Flow.apply  # torch gives it no types
        made = [
            flow(
                self._canvas(objects, block),
                coefficients[run(block.frames)],
                block.group.optics,
                block.group.plan,
                again,
            )
            for block in blocks
        ]
        return self._placed(made, blocks, objects, len(modes))

    def psfs(self, modes: torch.Tensor, object_: int = 0) -> torch.Tensor:
        """PSFs (frame, gy, gx, y, x) of an object at the nodes."""
        return psf(self.optics[object_], modes, mode_axis=1)

    def transfer(self, modes: torch.Tensor, shown: Shown = None, into: Spectra | None = None) -> Spectra:
        """Transfer functions (frame, gy, gx, kx, ky) per distinct optics, for `apply` and `adjoint`; those of
        as many other modes, `into`, are overwritten.
        """
        every = modes.detach().permute(0, 2, 3, 1)  # (frame, gy, gx, mode)
        spectra = []
        for number, group in enumerate(self._groups):
            plan, coefficients = group.plan, every[run(group.frames(len(every), shown))]
            shape = (len(coefficients), *plan.grid, plan.length // 2 + 1, plan.length)
            kind = group.optics.modes.dtype.to_complex()
            whole = torch.empty(shape, dtype=kind, device=modes.device) if into is None else into[number]
            for rows in plan.row_batches():
                for some in plan.frame_batches(len(coefficients)):
                    known = _nodes(plan, group.optics, coefficients[some, rows]).transfer
                    assert known is not None
                    whole[some, rows] = known
            spectra.append(whole)
        return tuple(spectra)

    def apply(self, objects: torch.Tensor, transfer: Spectra, shown: Shown = None) -> torch.Tensor:
        """Images of objects through PSFs that are known; no gradient, `adjoint` is its transpose."""
        with torch.no_grad():
            frames = len(transfer[0]) if shown is None else shown.shape[1]
            blocks = list(self._blocks(frames, shown))
            made = [
                _images(b.group.plan, self._canvas(objects, b), _known(transfer, b), len(b.frames))
                for b in blocks
            ]
            return self._placed(made, blocks, objects, frames)

    def adjoint(self, images: torch.Tensor, transfer: Spectra, shown: Shown = None) -> torch.Tensor:
        """The transpose of `apply`: images (object, frame, y, x) to objects, summed over the frames."""
        with torch.no_grad():
            total = images.new_zeros(len(images), *self.object_shape)
            for block in self._blocks(images.shape[1], shown):
                seen = images[runs(block.members, block.frames)]
                canvas = _gradients(block.group.plan, seen, _known(transfer, block), None)[0]
                assert canvas is not None  # it is what was asked for
                total[run(block.members)] += self._canvas_adjoint(canvas, block.group)
            return total

    def slope(
        self, objects: torch.Tensor, modes: torch.Tensor, images: torch.Tensor, shown: Shown = None
    ) -> torch.Tensor:
        """Gradient (frame, mode, gy, gx) in the modes of sum(images * model), (object, frame, y, x)."""
        every = modes.detach().permute(0, 2, 3, 1)
        total = torch.zeros_like(every)
        with torch.no_grad():
            for block in self._blocks(len(modes), shown):
                plan, optics, coefficients = block.group.plan, block.group.optics, every[run(block.frames)]

                def nodes_of(
                    rows: slice,
                    frames: slice,
                    optics: Optics = optics,
                    coefficients: torch.Tensor = coefficients,
                ) -> _Nodes:
                    some = coefficients[frames, rows]
                    return _Nodes(None, *light(optics, some.reshape(-1, some.shape[-1])))

                canvas, seen = self._canvas(objects, block), images[runs(block.members, block.frames)]
                known = (canvas, optics, coefficients.shape[-1])
                part = _gradients(plan, seen, nodes_of, *known, in_object=False)[1]
                assert part is not None  # it is what was asked for
                total[run(block.frames)] += part
        return total.permute(0, 3, 1, 2)

    def _blocks(self, count: int, shown: Shown) -> Iterator[_Block]:
        """What is computed together: in each frame the objects of a group that it shows, frames that show the
        same ones together, so that a PSF is made once.
        """
        for number, group in enumerate(self._groups):
            own = group.frames(count, shown)
            if shown is None:
                yield _Block(number, group, group.members, own, range(count))
                continue
            alike: dict[tuple[int, ...], list[int]] = {}
            for place, frame in enumerate(own):
                members = tuple(k for k in group.members if shown[k, frame])
                alike.setdefault(members, []).append(place)
            for members, kept in alike.items():
                yield _Block(number, group, members, [own[place] for place in kept], kept)

    def _canvas(self, objects: torch.Tensor, block: _Block) -> torch.Tensor:
        """The canvas of a block's objects, with as much of their surroundings as its PSFs see."""
        group, objects = block.group, objects[run(block.members)]
        if self.borders == "given":
            (top, _), (rows, columns) = self._spare(group), given_shape(self.shape, group.plan.size)
            objects = objects[:, top : top + rows, top : top + columns]
        return group.plan.canvas(extend(objects, group.plan.size, self.borders))

    def _canvas_adjoint(self, canvas: torch.Tensor, group: _Group) -> torch.Tensor:
        objects = extend_adjoint(group.plan.canvas_adjoint(canvas), group.plan.size, self.borders)
        return (
            # The transpose of cutting the spare margins off: zeros where they were.
            torch.nn.functional.pad(objects, self._spare(group) * 2) if self.borders == "given" else objects
        )

    def _spare(self, group: _Group) -> tuple[int, int]:
        """The margins before and behind, made for the largest PSFs, that a group's PSFs do not reach."""
        most, own = margins(self._largest), margins(group.plan.size)
        return most[0] - own[0], most[1] - own[1]

    def _placed(
        self, made: list[torch.Tensor], blocks: list[_Block], objects: torch.Tensor, frames: int
    ) -> torch.Tensor:
        """Images (object, frame, y, x) of all blocks where they belong, 0 where there is none."""
        # Most bursts need no placing, which copies all images.
        if len(blocks) == 1 and made[0].shape[:2] == (len(objects), frames):
            return made[0]
        images = objects.new_zeros(len(objects), frames, *self.shape)
        for part, block in zip(made, blocks, strict=True):
            images[runs(block.members, block.frames)] = part
        return images

    def _check(self, objects: torch.Tensor, modes: torch.Tensor) -> None:
        if tuple(objects.shape) != (len(self.optics), *self.object_shape):
            raise SettingsError(
                f"The objects have the shape {tuple(objects.shape)}; {len(self.optics)} optics, an image of "
                f"{self.shape} and "
                f"{self.borders} borders need {(len(self.optics), *self.object_shape)}."
            )
        if modes.ndim != 4 or tuple(modes.shape[2:]) != self.grid:
            raise SettingsError(
                f"The modes have the shape {tuple(modes.shape)}; an image of {self.shape} at a step of "
                f"{self.step} pixels needs (frame, mode, {self.grid[0]}, {self.grid[1]})."
            )
        most = min(len(optics.modes) for optics in self.optics)
        if modes.shape[1] > most:
            raise SettingsError(
                f"There are {modes.shape[1]} modes, but the optics were made for {most}: make them with more."
            )


@dataclass(frozen=True)
class _Nodes:
    """Transfer functions (frame, gy, gx, kx, ky) of some nodes, where the object's gradient wants them, and
    the light (node, y, x) they were made of.
    """

    transfer: torch.Tensor | None
    pupil_light: torch.Tensor | None = None
    image_light: torch.Tensor | None = None


NodesOf = Callable[[slice, slice], _Nodes]  # of some rows of nodes in some frames


def _nodes(plan: NodePatches, optics: Optics, coefficients: torch.Tensor) -> _Nodes:
    """Nodes of coefficients (frame, gy, gx, mode)."""
    pupil_light, image_light = light(optics, coefficients.reshape(-1, coefficients.shape[-1]))
    transfer = plan.transform(intensity(optics, image_light))
    return _Nodes(transfer.reshape(*coefficients.shape[:-1], *transfer.shape[-2:]), pupil_light, image_light)


def _known(transfer: Spectra, block: _Block) -> NodesOf:
    whole, kept = transfer[block.number], block.kept
    return lambda rows, frames: _Nodes(whole[run(kept[frames]), rows])


def _images(plan: NodePatches, canvas: torch.Tensor, nodes_of: NodesOf, frames: int) -> torch.Tensor:
    """Images (object, frame, y, x) of a canvas (object, y, x)."""
    window, sheet = plan.window(canvas), plan.sheet(canvas, len(canvas), frames)
    for rows in plan.row_batches():
        # The transforms of the object serve all frames.
        seen = plan.spectra(canvas, rows)[:, None]
        for some in plan.frame_batches(frames):
            transfer = nodes_of(rows, some).transfer
            assert transfer is not None
            # (object, frame, gy, gx, 2 step, 2 step)
            patches = plan.back(seen * transfer, plan.valid)
            plan.blend(sheet, patches * window, rows, some)
    return plan.images(sheet)


def _gradients(
    plan: NodePatches,
    images: torch.Tensor,
    nodes_of: NodesOf,
    canvas: torch.Tensor | None,
    optics: Optics | None = None,
    count: int = 0,
    *,
    in_object: bool = True,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """From gradients (object, frame, y, x) in the images: those in canvas and, if given, coefficients."""
    objects, frames = images.shape[:2]
    window, sheet = plan.window(images), plan.images_adjoint(images)
    in_canvas = plan.canvas(images.new_zeros(objects, *given_shape(plan.shape, plan.size)))
    in_coefficients = images.new_zeros(frames, *plan.grid, count) if optics is not None else None
    for rows in plan.row_batches():
        seen = plan.spectra(canvas, rows)[:, None] if canvas is not None else None
        total: torch.Tensor | None = None
        for some in plan.frame_batches(frames):
            nodes = nodes_of(rows, some)
            # `_images` kept only the valid pixels: their transpose puts zeros in front of them. Products with
            # the conjugate of a transfer function are the conjugates of these, without a pass to make one.
            spectra = plan.transform(
                plan.blend_adjoint(sheet, rows, some) * window, before=plan.size - 1, conjugate=True
            )
            if in_object:
                assert nodes.transfer is not None
                # Summed over the frames before the transform back: one inverse FFT instead of one per frame.
                for one, transfer in zip(spectra.unbind(1), nodes.transfer, strict=True):
                    total = one * transfer if total is None else total.addcmul_(one, transfer)
            if in_coefficients is not None and seen is not None and optics is not None:
                assert nodes.pupil_light is not None
                assert nodes.image_light is not None
                # The gradient in a PSF is the correlation of the object with the images' gradient, where the
                # PSF has pixels.
                product = seen * spectra
                product = product.sum(0) if objects > 1 else product[0]
                in_psfs = plan.back(product.flatten(0, 2), slice(0, plan.size), conjugate=True)
                gradient = intensity_gradient(optics, nodes.pupil_light, nodes.image_light, in_psfs, count)
                in_coefficients[some, rows] = gradient.reshape(in_coefficients[some, rows].shape)
        if total is not None:
            plan.add_patches(in_canvas, plan.back(total, slice(None), conjugate=True), rows)
    return in_canvas if in_object else None, in_coefficients


class _Flow(torch.autograd.Function):
    """Canvas (object, y, x), coefficients (frame, gy, gx, mode) to images, of objects with one optics."""

    @staticmethod
    def forward(
        ctx: Any,
        canvas: torch.Tensor,
        coefficients: torch.Tensor,
        optics: Optics,
        plan: NodePatches,
        checkpoint: bool,
    ) -> torch.Tensor:
        kept: dict[tuple[int, int], _Nodes] = {}

        def nodes_of(rows: slice, frames: slice) -> _Nodes:
            nodes = _nodes(plan, optics, coefficients[frames, rows])
            if not checkpoint:
                kept[rows.start, frames.start] = nodes
            return nodes

        ctx.save_for_backward(canvas, coefficients)
        ctx.optics, ctx.plan, ctx.kept = optics, plan, kept
        return _images(plan, canvas, nodes_of, len(coefficients))

    @staticmethod
    # The backward pass is written without autograd: asked for a second derivative, torch must raise.
    @once_differentiable
    def backward(ctx: Any, images: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        canvas, coefficients = ctx.saved_tensors
        optics, plan, kept = ctx.optics, ctx.plan, ctx.kept

        def nodes_of(rows: slice, frames: slice) -> _Nodes:
            return kept.get((rows.start, frames.start)) or _nodes(plan, optics, coefficients[frames, rows])

        in_object, in_modes = ctx.needs_input_grad[:2]
        known = (canvas, optics, coefficients.shape[-1]) if in_modes else (None, None, 0)
        return *_gradients(plan, images, nodes_of, *known, in_object=in_object), None, None, None
