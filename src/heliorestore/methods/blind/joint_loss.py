"""The loss of eq. 17 of Asensio Ramos (2024), for objects and modes that are sought at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from heliorestore.methods.blind.forward import Flow
from heliorestore.methods.blind.object_solver import Knobs
from heliorestore.optics.penalties import penalty, pixel_roughness


@dataclass(frozen=True, eq=False)
class JointLoss:
    """Eq. 17 in the units of the paper, in which the mean image of each object extends from 0 to 1: sum over
    objects and frames of gamma <r^2> + lambda_o <|grad o*|^2> + lambda_alpha sum_m <|grad alpha_m|^2>.

    < > are means over pixels, alpha in radian is bilinear between its nodes. An object without weight has no
    part in it. `lowest` and `span` (object, 1, 1) are those of the mean images.
    """

    flow: Flow
    knobs: Knobs
    lowest: torch.Tensor
    span: torch.Tensor

    @classmethod
    def of(cls, flow: Flow, knobs: Knobs) -> JointLoss:
        mean = flow.observation.mean
        seen = mean[:1].expand_as(mean) if flow.one_object else mean
        lowest, highest = (find(seen, (-2, -1), True) for find in (torch.amin, torch.amax))
        return cls(flow, knobs, lowest, (highest - lowest).clamp(min=1e-6))

    @property
    def _pixels(self) -> int:
        return self.flow.observation.shape[0] * self.flow.observation.shape[1]

    @property
    def gamma(self) -> torch.Tensor:
        """The weight (object) of a squared residual of images with mean 1."""
        return self.knobs.weights / self.span[:, 0, 0].square() / self._pixels

    def of_objects(self, sharp: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The term of filtered objects of mean 1, and its gradient in them."""
        knobs, scale = self.knobs, (self.knobs.weights > 0)[:, None, None] / self.span
        value, half = penalty(scale * sharp, knobs.regulariser, self._pixels, positive=knobs.positive)
        weight = knobs.lambda_object * self.flow.observation.frames
        return weight * value, 2 * weight * scale * half(scale * sharp)

    def of_modes(self, radian: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The term of modes in radian, and its gradient in them."""
        value, half = pixel_roughness(radian, self.flow.observation.shape, self.flow.step)
        weight = self.knobs.lambda_modes * (self.knobs.weights > 0).sum() / self._pixels
        return weight * value, 2 * weight * half

    def gradient(self, objects: torch.Tensor, radian: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradient in objects of mean 1 before the filter, and in modes in radian."""
        sharp = self.flow.sharp(objects, self.knobs)
        slope = self.flow.slope(sharp, radian, self.gamma, in_objects=True)
        assert slope.objects is not None
        with torch.no_grad():
            in_sharp = self.flow.shared(slope.objects + self.of_objects(sharp)[1])
            return self.flow.sharp(in_sharp, self.knobs), slope.modes + self.of_modes(radian)[1]
