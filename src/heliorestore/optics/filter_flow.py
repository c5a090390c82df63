"""Space-variant convolution by filter flow: the PSFs stand at the nodes of a grid and are interpolated in between.

Each node convolves the object around it by FFT (overlap-save); hat functions that sum to one blend the results. The weights
multiply the *output*: the image at a pixel is the object seen through the PSF interpolated there (Hirsch et al. 2010,
doi:10.1109/CVPR.2010.5540158; Denis et al. 2015, doi:10.1007/s11263-015-0817-x). With equal modes everywhere it is the
invariant convolution.

Light, transfer functions and products are made for a batch of nodes at a time and made again for the gradient, so that
memory does not grow with the field: kept are only object and modes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from heliorestore.errors import SettingsError
from heliorestore.optics.convolve import Borders, extend, extend_adjoint, given_shape, node_grid
from heliorestore.optics.psf import Optics, fast_length, intensity, intensity_gradient, light, psf

Spectra = tuple[torch.Tensor, ...]

_CPU_BATCH_BYTES = 1_600_000
_GPU_BATCH_BYTES = 150_000_000


@dataclass(frozen=True)
class _Plan:
    """Geometry of one model, along y and x: an image of `shape` is covered by `grid` nodes every `step` pixels.

    A node sees a patch of `length` object pixels of which it makes 2 `step` image pixels, beginning `step` before the node.
    """

    shape: tuple[int, int]
    step: int
    size: int
    batch: int

    @property
    def grid(self) -> tuple[int, int]:
        return node_grid(self.shape, self.step)

    @property
    def length(self) -> int:
        return fast_length(self.size - 1 + 2 * self.step)

    @property
    def valid(self) -> slice:
        return slice(self.size - 1, self.size - 1 + 2 * self.step)

    def row_batches(self) -> Iterator[slice]:
        """Rows of nodes that are done together: at least one, about `batch` nodes."""
        rows, columns = self.grid
        some = max(1, min(rows, self.batch // columns))
        return (slice(row, min(row + some, rows)) for row in range(0, rows, some))

    def frame_batches(self, frames: int) -> Iterator[slice]:
        """Frames that are done together: several where the field has few nodes."""
        rows, columns = self.grid
        some = max(1, self.batch // (columns * max(1, min(rows, self.batch // columns))))
        return (slice(frame, min(frame + some, frames)) for frame in range(0, frames, some))

    def window(self, like: torch.Tensor) -> torch.Tensor:
        """Hat function (2 step, 2 step) of a node; those of neighbours sum to one."""
        rising = torch.arange(self.step, device=like.device, dtype=like.dtype) / self.step
        hat = torch.cat([rising, 1 - rising])
        return hat[:, None] * hat[None, :]

    # -- object <-> patches: a canvas begins `step` pixels before the extended object, so that node j's patch begins at j step --

    def canvas(self, extended: torch.Tensor) -> torch.Tensor:
        rows, columns = ((g - 1) * self.step + self.length for g in self.grid)
        bottom, right = rows - self.step - extended.shape[-2], columns - self.step - extended.shape[-1]
        return torch.nn.functional.pad(extended, (self.step, right, self.step, bottom))

    def canvas_adjoint(self, canvas: torch.Tensor) -> torch.Tensor:
        rows, columns = given_shape(self.shape, self.size)
        return canvas[..., self.step : self.step + rows, self.step : self.step + columns]

    def spectra(self, canvas: torch.Tensor, rows: slice) -> torch.Tensor:
        """Transforms (object, gy, gx, ky, kx) of the patches of some rows of nodes."""
        patches = canvas.unfold(-2, self.length, self.step).unfold(-2, self.length, self.step)[:, rows]
        spectra: torch.Tensor = torch.fft.rfft2(patches)
        return spectra

    def add_patches(self, canvas: torch.Tensor, patches: torch.Tensor, rows: slice) -> None:
        """Add patches (object, gy, gx, y, x) back where `spectra` took them from; the adjoint of taking them."""
        s, n = self.step, self.length
        columns = self.grid[1]
        count = rows.stop - rows.start
        for top in range(0, n, s):
            for left in range(0, n, s):
                part = patches[..., top : top + s, left : left + s]
                high, wide = part.shape[-2:]
                first, begin = rows.start * s + top, left
                place = canvas[:, first : first + (count - 1) * s + high, begin : begin + (columns - 1) * s + wide]
                place.unfold(1, high, s).unfold(2, wide, s).add_(part)

    # -- images <-> blended patches: a sheet of blocks of step x step pixels, one more than nodes along each axis --------------

    def sheet(self, like: torch.Tensor, objects: int, frames: int) -> torch.Tensor:
        rows, columns = self.grid
        return like.new_zeros(objects, frames, rows + 1, self.step, columns + 1, self.step)

    def images(self, sheet: torch.Tensor) -> torch.Tensor:
        flat = sheet.flatten(4, 5).flatten(2, 3)
        return flat[..., self.step : self.step + self.shape[0], self.step : self.step + self.shape[1]]

    def images_adjoint(self, images: torch.Tensor) -> torch.Tensor:
        sheet = self.sheet(images, *images.shape[:2])
        self.images(sheet.view(sheet.shape)).copy_(images)
        return sheet

    def blend(self, sheet: torch.Tensor, patches: torch.Tensor, rows: slice, frames: slice) -> None:
        """Add weighted patches (object, frame, gy, gx, 2 step, 2 step) to the four blocks around their nodes."""
        s, columns = self.step, self.grid[1]
        for a in (0, 1):
            for b in (0, 1):
                block = patches[..., a * s : (a + 1) * s, b * s : (b + 1) * s].transpose(-3, -2)
                sheet[:, frames, rows.start + a : rows.stop + a, :, b : b + columns] += block

    def blend_adjoint(self, sheet: torch.Tensor, rows: slice, frames: slice) -> torch.Tensor:
        """Patches (object, frame, gy, gx, 2 step, 2 step) of the four blocks around each node."""
        columns = self.grid[1]
        halves = [torch.cat([sheet[:, frames, rows.start + a : rows.stop + a, :, b : b + columns] for b in (0, 1)], dim=-1) for a in (0, 1)]
        return torch.cat(halves, dim=-3).transpose(-3, -2)

    # -- transforms that skip what is known to be zero or will be cut off ------------------------------------------------------

    def transform(self, images: torch.Tensor, before: int = 0) -> torch.Tensor:
        """Transforms of images (..., m, m) in the corner, or `before` pixels from it, of a patch."""
        n = self.length
        if before:
            images = torch.nn.functional.pad(images, (before, 0))
        rows = torch.fft.rfft(images, n, dim=-1)
        if before:
            rows = torch.nn.functional.pad(rows, (0, 0, before, 0))
        spectra: torch.Tensor = torch.fft.fft(rows, n, dim=-2)
        return spectra

    def back(self, spectra: torch.Tensor, kept: slice) -> torch.Tensor:
        """The pixels `kept`, along y and x, of patches with these transforms."""
        rows = torch.fft.ifft(spectra, dim=-2)[..., kept, :]
        patches: torch.Tensor = torch.fft.irfft(rows, self.length, dim=-1)[..., kept]
        return patches


@dataclass(frozen=True, eq=False, kw_only=True)
class FilterFlow:
    """The space-variant model: objects (object, y, x), modes (frame, mode, gy, gx) -> images (object, frame, y, x).

    `optics` has one entry per object; objects with the very same entry share their PSFs. With `borders="given"` objects are
    larger than images by the PSF's margins (`object_shape`). `node_batch` nodes are done at once (0: as suits the device);
    without `checkpoint` light and transfer functions are kept for the gradient: a fifth faster, 21 MB per frame of 256 x 256 at step 16.
    """

    optics: Sequence[Optics]
    shape: tuple[int, int]
    step: int = 16
    borders: Borders = "reflect"
    node_batch: int = 0
    checkpoint: bool = True
    _plan: _Plan = field(init=False, repr=False)
    _groups: tuple[tuple[Optics, list[int]], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = {o.size for o in self.optics}
        if len(sizes) != 1:
            raise SettingsError(f"The optics have PSF grids of {sorted(sizes)} pixels; there must be one size for all objects.")
        groups: dict[int, tuple[Optics, list[int]]] = {}
        for index, optics in enumerate(self.optics):
            groups.setdefault(id(optics), (optics, []))[1].append(index)
        plan = _Plan(self.shape, self.step, sizes.pop(), self.node_batch)
        if not self.node_batch:
            # On a CPU the spectra of a batch should stay in its cache; a GPU wants much to do at once.
            room = _CPU_BATCH_BYTES if self.optics[0].modes.device.type == "cpu" else _GPU_BATCH_BYTES
            plan = dataclasses.replace(plan, batch=max(1, room // (4 * plan.length**2)))
        object.__setattr__(self, "_plan", plan)
        object.__setattr__(self, "_groups", tuple(groups.values()))

    @property
    def grid(self) -> tuple[int, int]:
        return self._plan.grid

    @property
    def object_shape(self) -> tuple[int, int]:
        return given_shape(self.shape, self._plan.size) if self.borders == "given" else self.shape

    def __call__(self, objects: torch.Tensor, modes: torch.Tensor) -> torch.Tensor:
        """Images; gradients go to the objects and to the modes."""
        self._check(objects, modes)
        canvas = self._plan.canvas(extend(objects, self._plan.size, self.borders))
        coefficients = modes.permute(0, 2, 3, 1)
        flow: Any = _Flow.apply  # torch gives it no types
        return self._ordered([flow(canvas[members], coefficients, optics, self._plan, self.checkpoint) for optics, members in self._groups])

    def psfs(self, modes: torch.Tensor, object_: int = 0) -> torch.Tensor:
        """PSFs (frame, gy, gx, y, x) of an object at the nodes."""
        return psf(self.optics[object_], modes, mode_axis=1)

    def transfer(self, modes: torch.Tensor) -> Spectra:
        """Transfer functions (frame, gy, gx, ky, kx) at the nodes, one tensor per distinct optics, for `apply` and `adjoint`."""
        plan, coefficients = self._plan, modes.detach().permute(0, 2, 3, 1)
        spectra = []
        for optics, _ in self._groups:
            rows = [
                torch.cat([_nodes(plan, optics, coefficients[some, rows]).transfer for some in plan.frame_batches(len(modes))])
                for rows in plan.row_batches()
            ]
            spectra.append(torch.cat(rows, dim=1))
        return tuple(spectra)

    def apply(self, objects: torch.Tensor, transfer: Spectra) -> torch.Tensor:
        """Images of objects through PSFs that are known; no gradient, `adjoint` is its transpose."""
        with torch.no_grad():
            canvas = self._plan.canvas(extend(objects, self._plan.size, self.borders))
            pairs = zip(self._groups, transfer, strict=True)
            return self._ordered([_images(self._plan, canvas[members], _known(h), len(h)) for (_, members), h in pairs])

    def adjoint(self, images: torch.Tensor, transfer: Spectra) -> torch.Tensor:
        """The transpose of `apply`: objects (object, y, x), summed over the frames, of images (object, frame, y, x)."""
        plan = self._plan
        with torch.no_grad():
            pairs = zip(self._groups, transfer, strict=True)
            parts = [plan.canvas_adjoint(_gradients(plan, images[members], _known(h), None)[0]) for (_, members), h in pairs]
            return extend_adjoint(self._ordered(parts), plan.size, self.borders)

    def _ordered(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Images of all groups in the order of the objects."""
        order = [index for _, members in self._groups for index in members]
        if order == list(range(len(order))):
            return torch.cat(parts) if len(parts) > 1 else parts[0]
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return torch.cat(parts)[inverse]

    def _check(self, objects: torch.Tensor, modes: torch.Tensor) -> None:
        if tuple(objects.shape) != (len(self.optics), *self.object_shape):
            raise SettingsError(
                f"The objects have the shape {tuple(objects.shape)}; {len(self.optics)} optics, an image of {self.shape} and "
                f"{self.borders} borders need {(len(self.optics), *self.object_shape)}."
            )
        if modes.ndim != 4 or tuple(modes.shape[2:]) != self.grid:
            raise SettingsError(
                f"The modes have the shape {tuple(modes.shape)}; an image of {self.shape} at a step of {self.step} pixels needs "
                f"(frame, mode, {self.grid[0]}, {self.grid[1]})."
            )


@dataclass(frozen=True)
class _Nodes:
    """Transfer functions (frame, gy, gx, ky, kx) of some nodes, and the light (node, y, x) they were made of."""

    transfer: torch.Tensor
    pupil_light: torch.Tensor | None = None
    image_light: torch.Tensor | None = None


NodesOf = Callable[[slice, slice], _Nodes]  # of some rows of nodes in some frames


def _nodes(plan: _Plan, optics: Optics, coefficients: torch.Tensor) -> _Nodes:
    """Nodes of coefficients (frame, gy, gx, mode)."""
    pupil_light, image_light = light(optics, coefficients.reshape(-1, coefficients.shape[-1]))
    transfer = plan.transform(intensity(optics, image_light))
    return _Nodes(transfer.reshape(*coefficients.shape[:-1], *transfer.shape[-2:]), pupil_light, image_light)


def _known(transfer: torch.Tensor) -> NodesOf:
    return lambda rows, frames: _Nodes(transfer[frames, rows])


def _images(plan: _Plan, canvas: torch.Tensor, nodes_of: NodesOf, frames: int) -> torch.Tensor:
    """Images (object, frame, y, x) of a canvas (object, y, x)."""
    window, sheet = plan.window(canvas), plan.sheet(canvas, len(canvas), frames)
    for rows in plan.row_batches():
        seen = plan.spectra(canvas, rows)[:, None]
        for some in plan.frame_batches(frames):
            patches = plan.back(seen * nodes_of(rows, some).transfer, plan.valid)
            plan.blend(sheet, patches * window, rows, some)
    return plan.images(sheet)


def _gradients(
    plan: _Plan, images: torch.Tensor, nodes_of: NodesOf, canvas: torch.Tensor | None, optics: Optics | None = None, count: int = 0
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """From gradients (object, frame, y, x) in the images: those in the canvas and, given canvas and optics, in the coefficients."""
    objects, frames = images.shape[:2]
    window, sheet = plan.window(images), plan.images_adjoint(images)
    in_canvas = plan.canvas(images.new_zeros(objects, *given_shape(plan.shape, plan.size)))
    in_coefficients = images.new_zeros(frames, *plan.grid, count) if optics is not None else None
    for rows in plan.row_batches():
        seen = plan.spectra(canvas, rows)[:, None].conj() if canvas is not None else None
        total: torch.Tensor | None = None
        for some in plan.frame_batches(frames):
            nodes = nodes_of(rows, some)
            spectra = plan.transform(plan.blend_adjoint(sheet, rows, some) * window, before=plan.size - 1)
            part = (spectra * nodes.transfer.conj()).sum(1)
            total = part if total is None else total + part
            if in_coefficients is not None and seen is not None and optics is not None:
                assert nodes.pupil_light is not None
                assert nodes.image_light is not None
                in_psfs = plan.back((seen * spectra).sum(0).flatten(0, 2), slice(0, plan.size))
                gradient = intensity_gradient(optics, nodes.pupil_light, nodes.image_light, in_psfs, count)
                in_coefficients[some, rows] = gradient.reshape(in_coefficients[some, rows].shape)
        if total is not None:
            plan.add_patches(in_canvas, torch.fft.irfft2(total, s=(plan.length, plan.length)), rows)
    return in_canvas, in_coefficients


class _Flow(torch.autograd.Function):
    """Canvas (object, y, x) and coefficients (frame, gy, gx, mode) to images, for the objects of one optics."""

    @staticmethod
    def forward(ctx: Any, canvas: torch.Tensor, coefficients: torch.Tensor, optics: Optics, plan: _Plan, checkpoint: bool) -> torch.Tensor:
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
    @once_differentiable
    def backward(ctx: Any, images: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        canvas, coefficients = ctx.saved_tensors
        optics, plan, kept = ctx.optics, ctx.plan, ctx.kept

        def nodes_of(rows: slice, frames: slice) -> _Nodes:
            return kept.get((rows.start, frames.start)) or _nodes(plan, optics, coefficients[frames, rows])

        wanted = ctx.needs_input_grad[1]
        in_canvas, in_coefficients = _gradients(
            plan, images, nodes_of, canvas if wanted else None, optics if wanted else None, coefficients.shape[-1]
        )
        return in_canvas if ctx.needs_input_grad[0] else None, in_coefficients, None, None, None
