"""The MFBD networks: a burst of short exposures in, one restored image out.

Asensio Ramos, de la Cruz Rodriguez & Pastor Yabar (2018), doi:10.1051/0004-6361/201833648: Tables 1 and 2, in
the layers and names of the published weights, which differ from the tables in small things. Frames are
(batch, frame, y, x), y and x multiples of 8.
"""

from __future__ import annotations

import torch
from torch import nn

from heliorestore.optics.precision import precisely

STRIDE = 8
"""Rows and columns must be multiples of this: the networks halve them three times."""
ORIENTATIONS = 8
"""Orientations of an image for a network: four quarter turns, and their mirror images."""
FRAMES = 7
"""Frames that the published encoder-decoder takes."""


class Block(nn.Module):
    """Convolution of the normalised, rectified input; reflected borders; stride 2 halves, `up` doubles."""

    def __init__(
        self, before: int, after: int, kernel: int = 3, *, stride: int = 1, up: bool = False
    ) -> None:
        super().__init__()
        self.up = up
        # Before the convolution, as the published weights have it.
        self.bn = nn.BatchNorm2d(before)
        self.conv = nn.Conv2d(
            before,
            after,
            kernel,
            stride=stride,
            padding=kernel // 2,
            padding_mode="reflect" if kernel > 1 else "zeros",
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(x)
        margin = self.conv.kernel_size[0] // 2
        if margin and not self.up and not x.is_cuda and not torch.is_grad_enabled():
            # In place of the module's own padding; a gradient needs the plain operations.
            padded = _rectified(x, margin)
            return nn.functional.conv2d(padded, self.conv.weight, self.conv.bias, self.conv.stride)
        x = torch.relu(x)
        if self.up:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        out: torch.Tensor = self.conv(x)
        return out


class EncoderDecoder(nn.Module):
    """A fixed number of frames (batch, frame, y, x) to one image (batch, 1, y, x), which is a correction of
    the first frame.

    Seven frames and 32 kernels make the published network of 3,151,599 parameters; 8 kernels its quarter, of
    199,047.
    """

    reach = 80
    """Pixels beyond which nothing influences an output pixel, rounded up to a multiple of 8: the overlap that
    tiles need."""

    def __init__(self, frames: int = FRAMES, kernels: int = 32) -> None:
        super().__init__()
        self.frames, k = frames, kernels
        self.A01 = Block(frames, k)
        self.C01, self.C02, self.C03, self.C04 = (
            Block(k, 2 * k, stride=2),
            Block(2 * k, 2 * k),
            Block(2 * k, 2 * k),
            Block(2 * k, 2 * k, 1),
        )
        self.C11, self.C12, self.C13, self.C14 = (
            *(Block(2 * k, 2 * k) for _ in range(3)),
            Block(2 * k, 2 * k, 1),
        )
        self.C21, self.C22, self.C23, self.C24 = (
            Block(2 * k, 4 * k, stride=2),
            *_pair(4 * k),
            Block(4 * k, 4 * k, 1),
        )
        self.C31, self.C32, self.C33, self.C34 = (
            Block(4 * k, 8 * k, stride=2),
            *_pair(8 * k),
            Block(8 * k, 8 * k, 1),
        )
        self.C41, self.C42, self.C43, self.C44 = (
            Block(8 * k, 4 * k, up=True),
            *_pair(4 * k),
            Block(4 * k, 4 * k),
        )
        self.C51, self.C52, self.C53, self.C54 = (
            Block(4 * k, 2 * k, up=True),
            *_pair(2 * k),
            Block(2 * k, 2 * k),
        )
        self.C61, self.C62, self.C63 = Block(2 * k, 2 * k, up=True), Block(2 * k, 2 * k), Block(2 * k, k // 2)
        self.C64 = nn.Conv2d(k // 2, 1, 1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        half = _residual(self.A01(frames), self.C01, self.C02, self.C03, self.C04)
        half = _residual(half, self.C11, self.C12, self.C13, self.C14)
        quarter = _residual(half, self.C21, self.C22, self.C23, self.C24)
        eighth = _residual(quarter, self.C31, self.C32, self.C33, self.C34)
        # Skips from the encoder: C41 and C51 only have to add what it has lost.
        x = _residual(self.C41(eighth) + quarter, None, self.C42, self.C43, self.C44)
        x = _residual(self.C51(x) + half, None, self.C52, self.C53, self.C54)
        return _corrected(frames[:, :1], self.C63(self.C62(self.C61(x))), self.C64)


Memory = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""The features that a pass leaves for the next, at an eighth, a quarter and half of the resolution."""
REMEMBERED = (8, 4, 2)
"""Pixels per pixel of each part of a memory."""


class Pass(nn.Module):
    """A pass of the recurrent network: estimate and next frame (batch, 1, y, x) to a better estimate."""

    def __init__(self, kernels: int = 64) -> None:
        super().__init__()
        k = kernels
        self.A01 = Block(2, k, 7)
        self.C11, self.C12, self.C13, self.C14 = Block(k, k, stride=2), *_pair(k), Block(k, k)
        self.C21, self.C22, self.C23, self.C24 = *_pair(k), *_pair(k)
        self.C31, self.C32, self.C33, self.C34 = Block(k, 2 * k, stride=2), *_pair(2 * k), Block(2 * k, 2 * k)
        self.C41, self.C43, self.C44, self.C45 = (
            Block(2 * k, 4 * k, stride=2),
            *_pair(4 * k),
            Block(4 * k, 4 * k),
        )
        self.C51, self.C53, self.C54, self.C55 = (
            Block(4 * k, 2 * k, up=True),
            *_pair(2 * k),
            Block(2 * k, 2 * k),
        )
        self.C61, self.C63, self.C64, self.C65 = Block(2 * k, k, up=True), *_pair(k), Block(k, k)
        self.C71, self.C72, self.C73 = Block(k, k, up=True), Block(k, k // 8), nn.Conv2d(k // 8, 1, 1)
        self.B42, self.B52, self.B62 = (
            nn.Conv2d(8 * k, 4 * k, 1),
            nn.Conv2d(4 * k, 2 * k, 1),
            nn.Conv2d(2 * k, k, 1),
        )

    def forward(
        self, current: torch.Tensor, frame: torch.Tensor, memory: Memory | None
    ) -> tuple[torch.Tensor, Memory]:
        half = _residual(self.A01(torch.cat([current, frame], 1)), self.C11, self.C12, self.C13, self.C14)
        half = _residual(half, self.C21, self.C22, self.C23, self.C24)
        quarter = _residual(half, self.C31, self.C32, self.C33, self.C34)
        # The first pass has no memory: its features pass unchanged.
        deep = self.C41(quarter)
        kept8 = self.C43(deep if memory is None else self.B42(torch.cat([deep, memory[0]], 1)))
        x = self.C51(self.C45(self.C44(kept8)) + deep) + quarter
        kept4 = self.C53(x if memory is None else self.B52(torch.cat([x, memory[1]], 1)))
        x = self.C61(self.C55(self.C54(kept4)) + x) + half
        kept2 = self.C63(x if memory is None else self.B62(torch.cat([x, memory[2]], 1)))
        x = self.C65(self.C64(kept2)) + x
        return _corrected(current, self.C72(self.C71(x)), self.C73), (kept8, kept4, kept2)


class Recurrent(nn.Module):
    """Any number n > 1 of frames (batch, n, y, x) to the n - 1 estimates (batch, n - 1, y, x) after each new
    frame.

    64 kernels make the published network of 4,026,069 parameters.
    """

    reach = 96
    """Pixels beyond which nothing influences the output and memory of one pass; the memory extends it from
    pass to pass.
    """

    def __init__(self, kernels: int = 64) -> None:
        super().__init__()
        self.block = Pass(kernels)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        estimates, memory = [frames[:, :1]], None
        for number in range(1, frames.shape[1]):
            estimate, memory = self.block(estimates[-1], frames[:, number : number + 1], memory)
            estimates.append(estimate)
        return torch.cat(estimates[1:], 1)


def encoder_decoder(frames: int = FRAMES) -> EncoderDecoder:
    """The published network."""
    return EncoderDecoder(frames)


def encoder_decoder_quarter(frames: int = FRAMES) -> EncoderDecoder:
    """A quarter of the kernels in every layer: about a sixteenth of the arithmetic."""
    return EncoderDecoder(frames, kernels=8)


def recurrent() -> Recurrent:
    """The published recurrent network."""
    return Recurrent()


def recurrent_quarter() -> Recurrent:
    """The recurrent network with a quarter of the kernels in every layer."""
    return Recurrent(kernels=16)


def turned(images: torch.Tensor, number: int) -> torch.Tensor:
    """Images (..., y, x) in one of eight orientations: quarter turns, mirrored from the fifth on."""
    after = images.rot90(number, (-2, -1))
    # Four turns and their mirror images are all symmetries of a square: seeing prefers none of them.
    return after.flip(-1) if number % ORIENTATIONS > 3 else after


def turned_back(images: torch.Tensor, number: int) -> torch.Tensor:
    """The inverse of `turned`."""
    before = images.flip(-1) if number % ORIENTATIONS > 3 else images
    return before.rot90(-number, (-2, -1))


def start_open(net: nn.Module) -> None:
    """First weights: the first rectifiers let whole images pass, and the last layer begins with a correction
    of zero.

    Each block rectifies its normalised input, so the first one would cut off everything darker than the mean.
    """
    last = (
        net.C64 if isinstance(net, EncoderDecoder) else net.block.C73 if isinstance(net, Recurrent) else None
    )
    first = (
        net.A01 if isinstance(net, EncoderDecoder) else net.block.A01 if isinstance(net, Recurrent) else None
    )
    if last is None or first is None:
        return
    # The first estimate is the sharpest frame itself.
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    # Nearly the whole image then lies above zero, where a rectifier changes nothing.
    nn.init.constant_(first.bn.bias, _OPEN)


_OPEN = 3.0  # standard deviations below the mean that pass the first rectifiers


def _rectified(x: torch.Tensor, margin: int) -> torch.Tensor:
    """ReLU and reflected border in one pass over the memory, half as costly as a small convolution."""
    rows, columns = x.shape[-2:]
    shape = (*x.shape[:2], rows + 2 * margin, columns + 2 * margin)
    # Columns first, then whole rows, so that the corners are reflected twice.
    padded = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    inner = padded[..., margin : margin + rows, :]
    torch.clamp_min(x, 0, out=inner[..., margin : margin + columns])
    inner[..., :margin] = inner[..., margin + 1 : 2 * margin + 1].flip(-1)
    inner[..., margin + columns :] = inner[..., columns - 1 : columns + margin - 1].flip(-1)
    padded[..., :margin, :] = inner[..., 1 : margin + 1, :].flip(-2)
    padded[..., margin + rows :, :] = inner[..., rows - margin - 1 : rows - 1, :].flip(-2)
    return padded


def _pair(kernels: int) -> tuple[Block, Block]:
    return Block(kernels, kernels), Block(kernels, kernels)


def _residual(x: torch.Tensor, first: Block | None, *rest: Block) -> torch.Tensor:
    """first(x), or x itself, plus `rest` applied to it."""
    before = x if first is None else first(x)
    after = before
    for block in rest:
        after = block(after)
    return after + before


def _corrected(image: torch.Tensor, features: torch.Tensor, last: nn.Conv2d) -> torch.Tensor:
    """Image plus the last layer's correction in full precision: half has too few digits for this."""
    # The network only corrects: at zero output its result is the sharpest frame.
    return image.to(last.weight.dtype) + precisely(last, features)
