"""What the error of a restored image means for who reads it, in a sentence each, where it is large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.methods.blind.image_error import ImageError

Image = npt.NDArray[np.floating]

_RAISED = 1.5  # times the error in the middle, from which a border is reported
_NARROWEST = 4  # px: less is not worth saying
_WIDEST = 0.25  # of the shorter side, that a border can be
_CONTRAST = 0.2  # of the contrast: its error, from which it is reported
_NOISY = 0.02  # of the field, from which it is reported that structure there is noise
_DARK = 0.6  # of the mean intensity
_STRUCTURE = 16  # px, of the squares in which structure is compared with its error


def verdicts(
    images: torch.Tensor, error: ImageError, labels: Sequence[str], d_over_r0: float
) -> tuple[str, ...]:
    """Sentences about images (object, y, x), with the names of objects where there are several."""
    found: list[str] = []
    for number, (image, label) in enumerate(zip(images.cpu().numpy(), labels, strict=True)):
        sigma, contrast = (part[number].cpu().numpy() for part in (error.sigma, error.contrast))
        where = f" of {label}" if len(labels) > 1 else ""
        found += (
            _border(sigma, where),
            _noise(image, sigma**2 - contrast, where),
            _contrast(image, contrast, where, d_over_r0),
        )
    return tuple(filter(None, found))


def _border(sigma: Image, where: str) -> str:
    """How far from the border the error is larger than in the middle."""
    rows, columns = (np.minimum(np.arange(n), n - 1 - np.arange(n)) for n in sigma.shape)
    distance = np.minimum.outer(rows, columns)
    widest = int(_WIDEST * min(sigma.shape))
    middle = float(np.sqrt(np.mean(sigma[distance >= widest] ** 2))) if widest else 0.0
    rings = [float(np.sqrt(np.mean(sigma[distance == at] ** 2))) for at in range(widest)]
    raised = [ring > _RAISED * middle for ring in rings]
    width = raised.index(False) if False in raised else len(raised)
    if width < _NARROWEST or middle == 0:
        return ""
    times = float(np.sqrt(np.mean(np.square(rings[:width])))) / middle
    return f"Within {width} px of the border{where} the error is {times:.1f} times that of the middle."


def _noise(image: Image, variances: Image, where: str) -> str:
    """In which part of the field, the border left out, more than half of the structure is error."""
    inside = (slice(_STRUCTURE, -_STRUCTURE),) * 2
    squares, errors = (_squares(part[inside]) for part in (image, variances))
    if not len(squares):
        return ""
    lost = errors.mean(1) > 0.5 * _detail(squares)
    share = float(lost.mean())
    if share < _NOISY:
        return ""
    dark = float(squares[lost].mean()) < _DARK * float(image.mean())
    place = f"the darkest {share:.0%} of the field{where}" if dark else f"{share:.0%} of the field{where}"
    return f"In {place} the error is larger than the structure: details there are noise."


def _squares(image: Image) -> npt.NDArray[np.float64]:
    """The squares (square, pixel) that an image (y, x) can be cut into."""
    rows, columns = (n // _STRUCTURE for n in image.shape)
    cut = image[: rows * _STRUCTURE, : columns * _STRUCTURE].astype(np.float64)
    blocks = cut.reshape(rows, _STRUCTURE, columns, _STRUCTURE).swapaxes(1, 2)
    return blocks.reshape(rows * columns, _STRUCTURE**2)


def _detail(squares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Variance of the pixels of each square (square, pixel) around a plane through them."""
    y, x = np.divmod(np.arange(_STRUCTURE**2), _STRUCTURE)
    plane = np.stack([np.ones(len(y)), y - y.mean(), x - x.mean()])
    plane /= np.linalg.norm(plane, axis=1, keepdims=True)
    left = squares - (squares @ plane.T) @ plane
    return np.asarray(left.var(1))


def _contrast(image: Image, variances: Image, where: str, d_over_r0: float) -> str:
    """By how much the contrast could be wrong everywhere alike."""
    share = float(np.sqrt(variances.mean())) / max(float(image.std()), 1e-12)
    if share < _CONTRAST:
        return ""
    return f"The air was bad (D/r0 = {d_over_r0:.0f}): the contrast{where} is right to {share:.0%} at best."
