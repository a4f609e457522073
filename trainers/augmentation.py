"""Augmentations: what is done to the images of a batch before a step; no torch until then.

All numbers of an epoch are drawn at once, on the CPU, from a stream of the epoch's own; the images are then
moved and coloured on the device, a batch at a time, by a few tensor operations. To add one, add one final
subclass of `Augmentation` here.

Shapes: B batch, C channels, H W pixels, D numbers that one example needs. Images are normalised to [-1, 1].
"""

from __future__ import annotations

import abc
import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from orchestrator.spec import Spec, setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLACK = -1.0
GREY = (0.2989, 0.587, 0.114)  # brightness of red, green and blue, as torchvision and television weigh them


@setting
class Augmentation(Spec, abc.ABC):
    """How the images of a batch are varied, anew in every epoch; labels stay.

    Class attributes:
        changes: Whether it does anything; where not, nobody needs to open a stream.
    """

    changes: ClassVar[bool]

    @abc.abstractmethod
    def numbers(self, examples: int, draw: torch.Generator) -> Tensor:
        """Return one epoch's draws, float32 (examples, D) on the CPU, one row for each example."""

    @abc.abstractmethod
    def augmented(self, x_BCHW: Tensor, numbers_BD: Tensor) -> Tensor:
        """Return the varied images in [-1, 1]; the same numbers give the same images.

        Args:
            x_BCHW: float32 images in [-1, 1]. Read only.
            numbers_BD: Their rows of `numbers`, on the images' device. The host does not wait for it.
        """


@setting
class NoAugmentation(Augmentation, kind="no_augmentation"):
    """Leave images as they are, as in the paper."""

    changes: ClassVar[bool] = False

    def numbers(self, examples: int, draw: torch.Generator) -> Tensor:
        """Nothing is drawn: D is 0."""
        import torch

        return torch.empty(examples, 0)

    def augmented(self, x_BCHW: Tensor, numbers_BD: Tensor) -> Tensor:
        """The very tensor that came in."""
        return x_BCHW


@setting
class CropFlipJitter(Augmentation, kind="crop_flip_jitter"):
    """Crop, mirror, colour and turn, in this order; each part leaves every bit as it is at its neutral value.

    The parts are those of torchvision's RandomCrop with padding, RandomHorizontalFlip, ColorJitter and
    RandomRotation (nearest pixel), with black around the image; but the colours always change in the order
    brightness, contrast, saturation, where ColorJitter draws an order for each image.

    Each example has seven numbers, uniform in [0, 1): row and column of the crop, whether it is mirrored, the
    factors of brightness, contrast and saturation, and the angle. All are drawn whatever the settings, so that
    the examples of two settings differ by nothing else.

    Attributes:
        pad: Black pixels around the image, out of which a crop of its old size is cut; 0 for no crop.
        flip: Whether half of the images are mirrored left to right. Mirrored digits are no digits.
        jitter: Factors of brightness, contrast and saturation are uniform in [1 - jitter, 1 + jitter]; in [0, 1].
            Only images of three channels have a saturation.
        rotation: Images are turned about their centre by an angle uniform in [-rotation, rotation], in degrees.

    Source:
        A reproduction that found no gap with augmentation; its numbers are the defaults.
    """

    pad: Annotated[int, Field(ge=0)] = 4
    flip: bool = True
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.25
    rotation: Annotated[float, Field(ge=0, le=180)] = 2.0

    changes: ClassVar[bool] = True

    def numbers(self, examples: int, draw: torch.Generator) -> Tensor:
        """Seven numbers for each example."""
        import torch

        return torch.rand(examples, 7, generator=draw)

    def augmented(self, x_BCHW: Tensor, numbers_BD: Tensor) -> Tensor:
        row_B, column_B, flip_B, *factors, turn_B = numbers_BD.unbind(dim=1)
        if self.pad or self.flip:
            x_BCHW = self._cropped(x_BCHW, row_B, column_B, flip_B)
        if self.jitter:
            x_BCHW = coloured(x_BCHW, *(1 + self.jitter * (2 * u_B - 1) for u_B in factors))
        if self.rotation:
            x_BCHW = turned(x_BCHW, (2 * turn_B - 1) * math.radians(self.rotation))
        return x_BCHW

    def _cropped(self, x_BCHW: Tensor, row_B: Tensor, column_B: Tensor, flip_B: Tensor) -> Tensor:
        """Cut out of the padded images, and mirror what was cut out."""
        import torch

        height, width = x_BCHW.shape[2:]
        row_BH1 = torch.arange(height, device=x_BCHW.device)[:, None] + self._shift(row_B)
        column_B1W = torch.arange(width, device=x_BCHW.device).expand(len(x_BCHW), 1, width)
        if self.flip:
            column_B1W = torch.where(flip_B[:, None, None] < 0.5, column_B1W.flip(2), column_B1W)
        return moved(x_BCHW, row_BH1, column_B1W + self._shift(column_B))

    def _shift(self, uniform_B: Tensor) -> Tensor:
        """Return -pad ... pad with equal chances, int64 (B, 1, 1)."""
        return (uniform_B * (2 * self.pad + 1)).floor().long()[:, None, None] - self.pad


def moved(x_BCHW: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return images whose pixels come from row `row` and column `column` of `x_BCHW`; black where that is outside.

    Args:
        row: int64, (B, H, W) or what broadcasts to it.
        column: int64, the same.
    """
    batch, channels, height, width = x_BCHW.shape
    is_outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
    place_BHW = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    place_BCP = place_BHW.view(batch, 1, -1).expand(-1, channels, -1)
    return x_BCHW.flatten(2).gather(2, place_BCP).view_as(x_BCHW).masked_fill(is_outside[:, None], BLACK)


def coloured(x_BCHW: Tensor, brightness_B: Tensor, contrast_B: Tensor, saturation_B: Tensor) -> Tensor:
    """Return images mixed with black, then with their mean grey, then each pixel with its grey, by these factors.

    A factor of 1 leaves an image as it is, 0 leaves only what is mixed in, more than 1 goes the other way. It is
    done to pixels in [0, 1], and each time what leaves that range is cut off.
    """
    pixel_BCHW = (x_BCHW + 1) / 2
    pixel_BCHW = (pixel_BCHW * brightness_B[:, None, None, None]).clamp(0, 1)
    pixel_BCHW = mixed(pixel_BCHW, grey(pixel_BCHW).mean(dim=(1, 2, 3), keepdim=True), contrast_B)
    if x_BCHW.shape[1] == 3:
        pixel_BCHW = mixed(pixel_BCHW, grey(pixel_BCHW), saturation_B)
    return pixel_BCHW * 2 - 1


def mixed(pixel_BCHW: Tensor, other: Tensor, factor_B: Tensor) -> Tensor:
    """Return ``factor * pixel + (1 - factor) * other``, cut off to [0, 1]."""
    return other.lerp(pixel_BCHW, factor_B[:, None, None, None]).clamp(0, 1)


def grey(pixel_BCHW: Tensor) -> Tensor:
    """Return the brightness of each pixel, (B, 1, H, W); without three channels it is their mean."""
    if pixel_BCHW.shape[1] != 3:
        return pixel_BCHW.mean(dim=1, keepdim=True)
    red_BHW, green_BHW, blue_BHW = pixel_BCHW.unbind(dim=1)
    return (GREY[0] * red_BHW + GREY[1] * green_BHW + GREY[2] * blue_BHW)[:, None]


def turned(x_BCHW: Tensor, angle_B: Tensor) -> Tensor:
    """Return images turned about their centre, counter-clockwise by `angle_B` in radians, to the nearest pixel."""
    import torch

    height, width = x_BCHW.shape[2:]
    up_H1 = torch.arange(height, device=x_BCHW.device)[:, None] - (height - 1) / 2
    right_W = torch.arange(width, device=x_BCHW.device) - (width - 1) / 2
    cos_B11, sin_B11 = angle_B.cos()[:, None, None], angle_B.sin()[:, None, None]
    row_BHW = sin_B11 * right_W + cos_B11 * up_H1 + (height - 1) / 2
    column_BHW = cos_B11 * right_W - sin_B11 * up_H1 + (width - 1) / 2
    return moved(x_BCHW, row_BHW.round().long(), column_BHW.round().long())
