"""What happens to an image on its way to the network: an ordered list of operations; free of torch.

The order is the order of the list. Whatever comes before ``normalize`` works on pixels, whatever comes after it on the
normalised values, so that a fill of 0 is black before it and the mean colour after it. Evaluation applies ``normalize``
alone.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from engine.options.base import Buildable, Options, option

StatisticsName = Literal["cifar10_copied", "cifar10", "cifar100", "half", "imagenet", "mnist", "train"]


class Crop(Options):
    """Pad every side, then cut out a window of the image's own size, placed at random."""

    op: Literal["crop"] = "crop"
    padding: int = option(4, "Pixels added to every side before the cut.", "pixels", ge=1, le=64)
    fill: Literal["zero", "reflect"] = option("zero", "What the added pixels hold.")


class Translate(Options):
    """Shift by a whole number of pixels on each axis."""

    op: Literal["translate"] = "translate"
    pixels: int = option(2, "Largest shift on either axis.", "pixels", ge=1, le=64)
    fill: Literal["zero", "reflect"] = option("reflect", "What the uncovered pixels hold.")


class Flip(Options):
    """Mirror left to right."""

    op: Literal["flip"] = "flip"
    mode: Literal["random", "alternating"] = option(
        "random", "alternating mirrors each image every other epoch, half of them on the even ones (airbench)."
    )
    p: float = option(0.5, "Probability of a random flip.", ge=0.0, le=1.0)


class Rotate(Options):
    """Rotate about the centre by an angle drawn from ±degrees; uncovered corners are 0."""

    op: Literal["rotate"] = "rotate"
    degrees: float = option(5.0, "Largest angle, either way.", "degrees", gt=0.0, le=180.0)
    interpolation: Literal["nearest", "bilinear"] = option("nearest", "nearest is torchvision's default.")


class Cutout(Options):
    """Blank a square whose centre lies anywhere on the image, clipped at the border (DeVries and Taylor 2017)."""

    op: Literal["cutout"] = "cutout"
    size: int = option(16, "Side of the square.", "pixels", ge=1, le=512)
    p: float = option(1.0, "Probability for each image.", ge=0.0, le=1.0)
    inside: bool = option(False, "Keep the whole square on the image (airbench) instead of clipping it.")


class RandomResizedCrop(Options):
    """Cut out a rectangle of random area and shape and enlarge it to the image's size (Szegedy et al. 2015)."""

    op: Literal["random_resized_crop"] = "random_resized_crop"
    scale_min: float = option(0.08, "Smallest share of the image's area.", gt=0.0, le=1.0)
    scale_max: float = option(1.0, "Largest share of the image's area.", gt=0.0, le=1.0)
    ratio: float = option(4 / 3, "Widest side ratio; its inverse is the narrowest.", ge=1.0, le=4.0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min={self.scale_min} is above scale_max={self.scale_max}")
        return self


class ColorJitter(Options):
    """Scale brightness, contrast and saturation, in this order, each by a factor drawn from 1 ± its strength."""

    op: Literal["color_jitter"] = "color_jitter"
    brightness: float = option(0.0, "Strength; 0 leaves brightness alone.", ge=0.0, le=1.0)
    contrast: float = option(0.0, "Strength; 0 leaves contrast alone.", ge=0.0, le=1.0)
    saturation: float = option(0.0, "Strength; 0 leaves saturation alone.", ge=0.0, le=1.0)


class RandAugment(Options):
    """Some operations in a row, drawn from fourteen, at one common strength (Cubuk et al. 2020)."""

    op: Literal["rand_augment"] = "rand_augment"
    operations: int = option(2, "Operations applied to each image.", ge=1, le=8)
    magnitude: int = option(9, "Strength, out of 30.", ge=0, le=30)


class TrivialAugment(Options):
    """One operation drawn from fourteen, at a strength drawn from its wide range (Müller and Hutter 2021)."""

    op: Literal["trivial_augment"] = "trivial_augment"


class Normalize(Options):
    """Scale pixels to 0…1, subtract a mean, divide by a standard deviation."""

    op: Literal["normalize"] = "normalize"
    statistics: StatisticsName = option(
        "cifar10", "Named means and deviations: cifar10_copied is the set most code copies, train is measured."
    )
    subtract: Literal["per_channel", "per_pixel", "per_image", "none"] = option(
        "per_channel", "per_pixel: the training set's mean image; per_image: each image's own channel means."
    )
    divide: bool = option(True, "Divide by the deviation of each channel.")


class BrightnessContrast(Options):
    """Add a number to all values of an image, then multiply them: brightness and contrast about the data's mean.

    Each image has its own two numbers, its channels share them, and nothing is clipped (hiverge/cifar10-speedrun).
    """

    op: Literal["brightness_contrast"] = "brightness_contrast"
    brightness: float = option(0.1, "What is added is drawn from ± this, in standard deviations.", ge=0.0, le=2.0)
    contrast: float = option(0.1, "The factor is drawn from 1 ± this.", ge=0.0, le=1.0)


class Mixup(Options):
    """Blend each image and its target with a neighbour of the batch (Zhang et al. 2018), one weight an image."""

    op: Literal["mixup"] = "mixup"
    alpha: float = option(1.0, "The weight is drawn from Beta(alpha, alpha).", gt=0.0, le=10.0)
    p: float = option(1.0, "Probability for each image.", ge=0.0, le=1.0)


class Cutmix(Options):
    """Paste a rectangle of a neighbour of the batch, and mix targets by its area (Yun et al. 2019)."""

    op: Literal["cutmix"] = "cutmix"
    alpha: float = option(1.0, "The area kept is drawn from Beta(alpha, alpha).", gt=0.0, le=10.0)
    p: float = option(1.0, "Probability for each image.", ge=0.0, le=1.0)


Operation = Annotated[
    Crop
    | Translate
    | Flip
    | Rotate
    | Cutout
    | RandomResizedCrop
    | ColorJitter
    | RandAugment
    | TrivialAugment
    | Normalize
    | BrightnessContrast
    | Mixup
    | Cutmix,
    Field(discriminator="op"),
]

PIXEL_OPERATIONS = (ColorJitter, RandAugment, TrivialAugment)


class Augmentation(Buildable):
    """An ordered list of operations, each drawn for every image on its own."""

    builder: ClassVar[str] = "engine.augment:build"

    name: str = option("", "The preset it came from, shown in tables.")
    ops: Annotated[tuple[Operation, ...], Field(strict=False, max_length=16)] = option(
        (), "The operations, in the order in which they are applied."
    )

    @model_validator(mode="after")
    def _order_makes_sense(self) -> Self:
        kinds = [operation.op for operation in self.ops]
        if kinds.count("normalize") > 1:
            raise ValueError("normalize stands twice in ops; once is enough")
        place = kinds.index("normalize") if "normalize" in kinds else len(kinds)
        for operation in self.ops[place + 1 :]:
            if isinstance(operation, PIXEL_OPERATIONS):
                raise ValueError(f"{operation.op} works on pixels and has to stand before normalize")
        for operation in self.ops[:place]:
            if isinstance(operation, BrightnessContrast):
                raise ValueError(f"{operation.op} works on normalised values and has to stand after normalize")
        mixing = [kind in ("mixup", "cutmix") for kind in kinds]
        if mixing != sorted(mixing):
            raise ValueError("mixup and cutmix mix finished images and have to stand last in ops")
        return self

    @property
    def mixes(self) -> bool:
        """Whether targets become soft: ``(N, classes)`` probabilities instead of ``(N,)`` labels."""
        return any(isinstance(operation, Mixup | Cutmix) for operation in self.ops)
