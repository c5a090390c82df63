"""The light on the detector: a scene blurred by PSFs that differ from place to place, by two independent
roads.

Both are written for the simulation alone, so that data are not made with the operator that the methods
invert. A scene (object, y, x) has the frame and a margin of half a PSF on every side; PSFs have their centre
in pixel [n // 2, n // 2].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from heliorestore.optics.psf import fast_length

PsfsAt = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""PSFs (point, y, x) at rows (point) and columns (point) of the frame."""

_BATCH = 512


def convolve_still(scene: torch.Tensor, psf: torch.Tensor, size: int) -> torch.Tensor:
    """Frame (object, y, x) of `size` pixels with one PSF (y, x) everywhere."""
    n, length = psf.shape[-1], fast_length(scene.shape[-1])
    shape = (length, length)
    blurred = torch.fft.irfft2(torch.fft.rfft2(scene, s=shape) * torch.fft.rfft2(psf, s=shape), s=shape)
    first = 2 * (n // 2)  # the margin, and the PSF's own centre
    frame: torch.Tensor = blurred[..., first : first + size, first : first + size]
    return frame


def convolve_everywhere(scene: torch.Tensor, psfs_at: PsfsAt, size: int) -> torch.Tensor:
    """Frame (object, y, x) in which every pixel sees the scene through its own PSF, summed directly."""
    n = int(psfs_at(torch.zeros(1), torch.zeros(1)).shape[-1])
    # Pixel q sees sum over k of PSF_q[k] o[q - (k - n // 2)]; the scene's index 0 is the frame's -n // 2, and
    # an even PSF has its centre one pixel nearer to its end.
    first = 1 - n % 2
    windows = scene.unfold(-2, n, 1).unfold(-2, n, 1)[:, first:, first:]
    frame = torch.empty((scene.shape[0], size, size), dtype=scene.dtype)
    columns = torch.arange(size, dtype=torch.float32)
    for row in range(size):
        for part in torch.split(torch.arange(size), _BATCH):
            # A convolution meets the scene turned round.
            psfs = psfs_at(torch.full((len(part),), float(row)), columns[part]).flip(-2, -1)
            frame[:, row, part] = torch.einsum("oqyx,qyx->oq", windows[:, row, part], psfs)
    return frame


def convolve_per_node(scene: torch.Tensor, psfs_at: PsfsAt, size: int, step: int) -> torch.Tensor:
    """Frame (object, y, x) with PSFs computed at every `step`-th pixel and interpolated linearly between.

    Each node's PSF blurs the pixels nearer than a step, and hat functions weight them (filter flow, Hirsch et
    al. 2010, doi:10.1109/CVPR.2010.5540158).
    """
    nodes = torch.arange(math.ceil((size - 1) / step) + 1, dtype=torch.float32) * step
    rows, columns = (axis.reshape(-1) for axis in torch.meshgrid(nodes, nodes, indexing="ij"))
    n = int(psfs_at(rows[:1], columns[:1]).shape[-1])
    reach, around = 2 * step - 1, n // 2
    window = reach + n - 1
    # Node 0 begins step - 1 pixels before the frame, and its PSF another n - 1 - n // 2 pixels before that.
    before, after = step - 1 + (n - 1 - around) - around, step * len(nodes) + n - size - around
    padded = torch.nn.functional.pad(scene, (before, after, before, after))
    windows = padded.unfold(-2, window, step).unfold(-2, window, step)[:, : len(nodes), : len(nodes)]
    length = fast_length(window)
    shape = (length, length)
    # Those of neighbours sum to one, so that equal PSFs give an invariant blur.
    hat = 1 - (torch.arange(reach, dtype=scene.dtype) - (step - 1)).abs() / step
    weights = hat[:, None] * hat[None, :]
    pieces = []
    for part in torch.split(torch.arange(len(rows)), _BATCH):
        psfs = torch.fft.rfft2(psfs_at(rows[part], columns[part]), s=shape)
        seen = torch.fft.rfft2(windows[:, part // len(nodes), part % len(nodes)], s=shape)
        blurred = torch.fft.irfft2(seen * psfs, s=shape)[..., n - 1 : n - 1 + reach, n - 1 : n - 1 + reach]
        pieces.append((blurred * weights).flatten(-2))
    stacked = torch.cat(pieces, dim=1).transpose(1, 2)  # (object, pixel of a node, node)
    canvas = step * (len(nodes) - 1) + reach
    frame: torch.Tensor = torch.nn.functional.fold(stacked, (canvas, canvas), (reach, reach), stride=step)[
        :, 0
    ]
    return frame[:, step - 1 : step - 1 + size, step - 1 : step - 1 + size]
