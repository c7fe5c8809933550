"""Every operation against torchvision on the same drawn numbers, the draws themselves, and the order of operations."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from engine.augment import Augmenter, EpochPlan, build
from engine.augment import policy as policies
from engine.augment.geometry import gather
from engine.augment.magnitudes import KINDS, rand_augment, trivial_augment
from engine.data.statistics import NAMED, mean_image, measure
from engine.options.augmentation import Augmentation

N, SIZE = 64, 32
ZERO_ONE = NAMED["cifar10"]


@pytest.fixture(scope="module")
def images() -> Tensor:
    """(N, 32, 32, 3) uint8: noise over slopes, so that both smooth and rough parts occur."""
    generator = torch.Generator().manual_seed(1)
    slope = torch.linspace(0, 200, SIZE)[None, :, None, None] * torch.rand(N, 1, 1, 3, generator=generator)
    return (slope + 55 * torch.rand(N, SIZE, SIZE, 3, generator=generator)).to(torch.uint8)


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.arange(N) % 10


def make(*ops: dict[str, Any], train_images: Tensor | None = None) -> Augmenter:
    return build(Augmentation.model_validate({"ops": list(ops)}), SIZE, 3, 10, train_images)


def run(augmenter: Augmenter, images: Tensor, labels: Tensor, epoch: int = 0) -> tuple[Tensor, Tensor, EpochPlan]:
    plan = augmenter.draw_epoch(seed=3, epoch=epoch, n=len(images))
    inputs, targets = augmenter(images, labels, torch.arange(len(images)), plan)
    return inputs, targets, plan


def bytes_of(inputs: Tensor) -> Tensor:
    return (inputs * 255).round().to(torch.uint8)


def planes(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).contiguous()


def normalized(pixels: Tensor, mean: Any = ZERO_ONE.mean, std: Any = ZERO_ONE.std) -> Tensor:
    return TF.normalize(pixels.float() / 255, mean, std)


def angle_of(matrix: Tensor) -> float:
    return math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))


@pytest.mark.parametrize("fill", ["zero", "reflect"])
def test_crop_is_pad_then_crop(images: Tensor, labels: Tensor, fill: str) -> None:
    inputs, _, plan = run(make({"op": "crop", "padding": 4, "fill": fill}), images, labels)
    mode = {"zero": "constant", "reflect": "reflect"}[fill]
    for image, shift, ours in zip(planes(images), plan.draws[0]["shift"].tolist(), bytes_of(inputs), strict=True):
        padded = TF.pad(image, [4], padding_mode=mode)
        assert torch.equal(ours, TF.crop(padded, shift[0] + 4, shift[1] + 4, SIZE, SIZE))


def test_flip_mirrors_the_images_that_drew_it(images: Tensor, labels: Tensor) -> None:
    inputs, _, plan = run(make({"op": "flip"}), images, labels)
    for image, flip, ours in zip(planes(images), plan.draws[0]["flip"], bytes_of(inputs), strict=True):
        assert torch.equal(ours, TF.hflip(image) if flip else image)


@pytest.mark.parametrize("degrees", [5.0, 90.0, 180.0])
def test_nearest_rotation(images: Tensor, labels: Tensor, degrees: float) -> None:
    inputs, _, plan = run(make({"op": "rotate", "degrees": degrees}), images, labels)
    expected = torch.stack(
        [TF.rotate(image, angle_of(m)) for image, m in zip(planes(images), plan.draws[0]["matrix"], strict=True)]
    )
    # A source exactly between two pixels may fall either way in the last bit of a float.
    assert (bytes_of(inputs) != expected).float().mean() < 1e-3


def test_bilinear_rotation(images: Tensor, labels: Tensor) -> None:
    inputs, _, plan = run(make({"op": "rotate", "degrees": 30.0, "interpolation": "bilinear"}), images, labels)
    for image, matrix, ours in zip(planes(images).float() / 255, plan.draws[0]["matrix"], inputs, strict=True):
        theirs = TF.rotate(image, angle_of(matrix), interpolation=InterpolationMode.BILINEAR)
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


def test_cutout_before_normalize_is_black_and_after_it_the_mean(images: Tensor, labels: Tensor) -> None:
    cutout, normalize = {"op": "cutout", "size": 16}, {"op": "normalize"}
    before, _, plan = run(make(cutout, normalize), images, labels)
    after, _, _ = run(make(normalize, cutout), images, labels)
    black = normalized(torch.zeros(3, 1, 1))
    for i, (top, left) in enumerate(plan.draws[0]["corner"].tolist()):
        rows, columns = slice(max(top, 0), top + 16), slice(max(left, 0), left + 16)
        expected = normalized(planes(images)[i])
        expected[:, rows, columns] = black
        torch.testing.assert_close(before[i], expected, atol=2e-6, rtol=0)
        expected[:, rows, columns] = 0
        torch.testing.assert_close(after[i], expected, atol=2e-6, rtol=0)


def test_random_resized_crop(images: Tensor, labels: Tensor) -> None:
    inputs, _, plan = run(make({"op": "random_resized_crop"}), images, labels)
    for image, box, ours in zip(planes(images).float() / 255, plan.draws[0]["box"], inputs, strict=True):
        top, left, height, width = (int(side) for side in box)
        theirs = TF.resized_crop(image, top, left, height, width, [SIZE, SIZE], antialias=True)
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


def test_color_jitter(images: Tensor, labels: Tensor) -> None:
    jitter = {"op": "color_jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
    inputs, _, plan = run(make(jitter), images, labels)
    for image, factors, ours in zip(
        planes(images).float() / 255, plan.draws[0]["factor"].tolist(), inputs, strict=True
    ):
        theirs = TF.adjust_contrast(TF.adjust_brightness(image, factors[0]), factors[1])
        torch.testing.assert_close(ours, TF.adjust_saturation(theirs, factors[2]), atol=2e-6, rtol=0)


def test_brightness_and_contrast_move_normalised_values_about_the_mean(images: Tensor, labels: Tensor) -> None:
    jitter = {"op": "brightness_contrast", "brightness": 1.5, "contrast": 0.3}
    inputs, _, plan = run(make({"op": "normalize"}, jitter), images, labels)
    for image, shift, factor, ours in zip(planes(images), *plan.draws[1].values(), inputs, strict=True):
        torch.testing.assert_close(ours, (normalized(image) + shift) * factor, atol=5e-6, rtol=0)
    assert inputs.max() > normalized(planes(images)).max()


def reference_policy(image: Tensor, kind: str, strength: float, limits: dict[str, float]) -> Tensor:
    """What torchvision.transforms.autoaugment applies, spelled out."""
    degrees = math.degrees(math.atan(limits["shear"] * strength))
    pixels = int(limits["translate"] * strength)
    factor = 1 + limits["blend"] * strength
    bits = 8 - round(limits["bits"] * abs(strength))
    plain: dict[str, Any] = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    match kind:
        case "shear_x":
            return TF.affine(image, **plain | {"shear": [degrees, 0.0]}, center=[0, 0])
        case "shear_y":
            return TF.affine(image, **plain | {"shear": [0.0, degrees]}, center=[0, 0])
        case "translate_x":
            return TF.affine(image, **plain | {"translate": [pixels, 0]})
        case "translate_y":
            return TF.affine(image, **plain | {"translate": [0, pixels]})
        case "rotate":
            return TF.rotate(image, limits["rotate"] * strength)
        case "brightness":
            return TF.adjust_brightness(image, factor)
        case "color":
            return TF.adjust_saturation(image, factor)
        case "contrast":
            return TF.adjust_contrast(image, factor)
        case "sharpness":
            return TF.adjust_sharpness(image, factor)
        case "posterize":
            return TF.posterize(image, bits)
        case "solarize":
            return TF.solarize(image, 255 * (1 - abs(strength)))
        case "auto_contrast":
            return TF.autocontrast(image)
        case "equalize":
            return TF.equalize(image)
    return image


TRIVIAL = {"shear": 0.99, "translate": 32.0, "rotate": 135.0, "blend": 0.99, "bits": 6.0}
RAND = {"shear": 0.3, "translate": 150 / 331 * SIZE, "rotate": 30.0, "blend": 0.9, "bits": 4.0}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("negative", [False, True])
def test_policy_operations(images: Tensor, kind: str, negative: bool) -> None:
    kinds = torch.full((N, 1), KINDS.index(kind))
    signs = torch.full((N, 1), negative)
    bins = (torch.arange(N) % 31)[:, None]
    for limits, draws in (
        (TRIVIAL, trivial_augment(kinds, bins, signs, SIZE)),
        (RAND, rand_augment(kinds, signs, magnitude=9, size=SIZE)),
    ):
        ours = bytes_of(policies.apply_policy(draws, images.float() / 255).permute(0, 3, 1, 2))
        strengths = bins[:, 0] / 30 if limits is TRIVIAL else torch.full((N,), 0.3)
        sign = -1 if negative else 1
        theirs = [
            reference_policy(image, kind, sign * float(strength), limits)
            for image, strength in zip(planes(images), strengths.double(), strict=True)
        ]
        difference = (ours.int() - torch.stack(theirs).int()).abs()
        # One level where a float falls on either side of a whole number; ties of the nearest pixel in the geometry.
        assert (difference > 1).float().mean() < 2e-3
        assert (difference > 0).float().mean() < 5e-2


@pytest.mark.parametrize("name", sorted(set(NAMED) - {"mnist"}))
def test_normalize_by_named_statistics(images: Tensor, labels: Tensor, name: str) -> None:
    inputs, _, _ = run(make({"op": "normalize", "statistics": name}), images, labels)
    statistics = NAMED[name]
    expected = normalized(planes(images), statistics.mean, statistics.std)
    torch.testing.assert_close(inputs, expected, atol=2e-6, rtol=1e-6)


def test_statistics_of_the_training_images(images: Tensor, labels: Tensor) -> None:
    measured = measure(images)
    pixels = images.double() / 255
    assert measured.mean == pytest.approx(pixels.mean(dim=(0, 1, 2)).tolist())
    assert measured.std == pytest.approx(pixels.std(dim=(0, 1, 2), correction=0).tolist())
    inputs, _, _ = run(make({"op": "normalize", "statistics": "train"}, train_images=images), images, labels)
    torch.testing.assert_close(inputs.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)


def test_per_pixel_mean_subtracts_the_mean_image(images: Tensor, labels: Tensor) -> None:
    augmenter = make({"op": "normalize", "subtract": "per_pixel", "divide": False}, train_images=images)
    inputs, _, _ = run(augmenter, images, labels)
    pixels = planes(images) / 255
    torch.testing.assert_close(inputs, pixels - pixels.mean(dim=0), atol=2e-6, rtol=0)
    torch.testing.assert_close(mean_image(images), images.double().mean(dim=0).float() / 255)


def test_per_image_mean_subtracts_each_images_own(images: Tensor, labels: Tensor) -> None:
    inputs, _, _ = run(make({"op": "normalize", "subtract": "per_image", "divide": False}), images, labels)
    pixels = planes(images) / 255
    torch.testing.assert_close(inputs, pixels - pixels.mean(dim=(2, 3), keepdim=True), atol=2e-6, rtol=0)


def test_without_operations_pixels_are_scaled(images: Tensor, labels: Tensor) -> None:
    inputs, targets, _ = run(make(), images, labels)
    assert torch.equal(inputs, planes(images).float() / 255)
    assert torch.equal(targets, labels)


def test_the_two_orders_of_rotation(images: Tensor, labels: Tensor) -> None:
    rotate, crop, flip, normalize = ({"op": op} for op in ("rotate", "crop", "flip", "normalize"))
    first, _, plan = run(make(rotate, crop, flip, normalize), images, labels)
    last, _, other = run(make(crop, flip, normalize, rotate), images, labels)
    assert torch.equal(plan.draws[0]["matrix"], other.draws[3]["matrix"])
    turned, cropped, flipped = plan.draws[0]["matrix"], plan.draws[1]["shift"].tolist(), plan.draws[2]["flip"]

    def crop_and_flip(image: Tensor, i: int) -> Tensor:
        moved = TF.crop(TF.pad(image, [4]), cropped[i][0] + 4, cropped[i][1] + 4, SIZE, SIZE)
        return TF.hflip(moved) if flipped[i] else moved

    pixels = planes(images)
    expected_first = [normalized(crop_and_flip(TF.rotate(pixels[i], angle_of(turned[i])), i)) for i in range(N)]
    expected_last = [TF.rotate(normalized(crop_and_flip(pixels[i], i)), angle_of(turned[i])) for i in range(N)]
    for ours, theirs in ((first, expected_first), (last, expected_last)):
        assert ((ours - torch.stack(theirs)).abs() > 1e-5).float().mean() < 1e-3
    assert not torch.allclose(first, last)


SHIFT, REFLECT = {"op": "crop", "padding": 12}, {"op": "translate", "pixels": 9, "fill": "reflect"}
TURN, FLIP, HOLE = {"op": "rotate", "degrees": 60.0}, {"op": "flip"}, {"op": "cutout", "size": 14}


@pytest.mark.parametrize(
    "moves",
    [
        (SHIFT, FLIP),
        (SHIFT, SHIFT),  # what the first pushes out does not come back with the second
        (SHIFT, TURN, SHIFT),
        (TURN, REFLECT),
        (SHIFT, REFLECT, FLIP),
        (HOLE, SHIFT),
        (HOLE, TURN, REFLECT, HOLE),
    ],
    ids=lambda moves: " ".join(move["op"] for move in moves),
)
def test_moves_in_one_lookup_are_those_moves_one_after_another(
    images: Tensor, moves: tuple[dict[str, Any], ...]
) -> None:
    augmenter = make(*moves)
    plan = augmenter.draw_epoch(seed=3, epoch=0, n=N)
    rows = torch.arange(N).flip(0)
    draws = [{name: drawn[rows] for name, drawn in one.items()} for one in plan.draws]
    together = gather(images, rows, augmenter.operations, draws)
    apart = images[rows]
    for operation, drawn in zip(augmenter.operations, draws, strict=True):
        apart = gather(apart, torch.arange(N), [operation], [drawn])
    assert torch.equal(together, apart)
    assert not torch.equal(apart, images[rows])


def test_evaluation_only_normalizes(images: Tensor) -> None:
    augmenter = make({"op": "crop"}, {"op": "flip"}, {"op": "normalize"}, {"op": "rotate"}, {"op": "cutout"})
    torch.testing.assert_close(augmenter.normalize(images), normalized(planes(images)), atol=2e-6, rtol=0)


def test_mixup(images: Tensor, labels: Tensor) -> None:
    plain, _, _ = run(make({"op": "normalize"}), images, labels)
    mixed, targets, plan = run(make({"op": "normalize"}, {"op": "mixup"}), images, labels)
    weight = plan.draws[1]["weight"]
    for i in range(N):
        torch.testing.assert_close(
            mixed[i], plain[i] * weight[i] + plain[i - 1] * (1 - weight[i]), atol=1e-6, rtol=1e-6
        )
        assert targets[i, labels[i]] == pytest.approx(float(weight[i]))
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(N))


def test_cutmix_weighs_targets_by_area(images: Tensor, labels: Tensor) -> None:
    mixed, targets, plan = run(make({"op": "cutmix"}), images, labels)
    pixels = planes(images).float() / 255
    for i, (top, left, bottom, right) in enumerate(plan.draws[0]["box"].tolist()):
        expected = pixels[i].clone()
        expected[:, top:bottom, left:right] = pixels[i - 1][:, top:bottom, left:right]
        assert torch.equal(mixed[i], expected)
        assert targets[i, labels[i]] == pytest.approx(1 - (bottom - top) * (right - left) / SIZE**2)


def test_mixing_spares_the_images_that_did_not_draw_it(images: Tensor, labels: Tensor) -> None:
    mixed, targets, _ = run(make({"op": "mixup", "p": 0.0}, {"op": "cutmix", "p": 0.0}), images, labels)
    assert torch.equal(mixed, planes(images).float() / 255)
    assert torch.equal(targets, torch.nn.functional.one_hot(labels, 10).float())


def test_a_plan_depends_on_seed_and_epoch_alone() -> None:
    augmenter = make({"op": "crop"}, {"op": "flip"}, {"op": "rand_augment"}, {"op": "cutmix"})
    first, again = augmenter.draw_epoch(1, 2, 100), augmenter.draw_epoch(1, 2, 100)
    assert torch.equal(first.order, again.order)
    assert all(torch.equal(a[k], b[k]) for a, b in zip(first.draws, again.draws, strict=True) for k in a)
    assert first.order.sort().values.tolist() == list(range(100))
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        other = augmenter.draw_epoch(seed, epoch, 100)
        assert not torch.equal(first.order, other.order)
        assert not torch.equal(first.draws[0]["shift"], other.draws[0]["shift"])


def test_an_operation_draws_the_same_whatever_stands_beside_it() -> None:
    alone = make({"op": "flip"}).draw_epoch(1, 0, 100)
    beside = make({"op": "crop"}, {"op": "cutout"}, {"op": "flip"}).draw_epoch(1, 0, 100)
    assert torch.equal(alone.order, beside.order)
    assert torch.equal(alone.draws[0]["flip"], beside.draws[2]["flip"])


def test_two_of_a_kind_draw_apart() -> None:
    plan = make({"op": "cutout", "size": 8}, {"op": "cutout", "size": 8}).draw_epoch(1, 0, 100)
    assert not torch.equal(plan.draws[0]["corner"], plan.draws[1]["corner"])


def test_stretches_are_cut_from_passes_that_follow_one_another() -> None:
    augmenter = make({"op": "flip", "mode": "alternating"}, {"op": "translate"})
    passes = [augmenter.draw_epoch(1, number, 50) for number in range(4)]
    order = torch.cat([one.order for one in passes])
    flips = torch.cat([one.draws[0]["flip"][one.order] for one in passes])
    shifts = torch.cat([one.draws[1]["shift"][one.order] for one in passes])
    stretches = [augmenter.draw_stretch(1, epoch, 50, 48) for epoch in range(4)]
    taken = slice(0, 4 * 48)
    assert torch.equal(torch.cat([one.order % 50 for one in stretches]), order[taken])
    assert torch.equal(torch.cat([one.draws[0]["flip"][one.order] for one in stretches]), flips[taken])
    assert torch.equal(torch.cat([one.draws[1]["shift"][one.order] for one in stretches]), shifts[taken])


def test_an_image_that_a_stretch_shows_twice_is_drawn_twice(images: Tensor, labels: Tensor) -> None:
    augmenter = make({"op": "translate"}, {"op": "normalize"})
    plan = augmenter.draw_stretch(3, 1, N, N)
    halves = [augmenter(images, labels, torch.arange(N) + first, plan) for first in (0, N)]
    for number, (inputs, targets) in enumerate(halves, start=1):
        expected, _, _ = run(augmenter, images, labels, epoch=number)
        assert torch.equal(inputs, expected)
        assert torch.equal(targets, labels)


def test_a_plan_is_copied_in_place() -> None:
    augmenter = make({"op": "crop"}, {"op": "flip"})
    mine, theirs = augmenter.draw_epoch(1, 0, 100), augmenter.draw_epoch(1, 1, 100)
    address = mine.draws[0]["shift"].data_ptr()
    mine.copy_(theirs)
    assert torch.equal(mine.order, theirs.order)
    assert torch.equal(mine.draws[0]["shift"], theirs.draws[0]["shift"])
    assert mine.draws[0]["shift"].data_ptr() == address


def draws_of(n: int, **operation: Any) -> dict[str, Tensor]:
    return make(operation).draw_epoch(5, 0, n).draws[0]


def test_crop_shifts_are_uniform() -> None:
    shift = draws_of(90_000, op="crop", padding=4)["shift"]
    for axis in range(2):
        counts = torch.bincount(shift[:, axis] + 4, minlength=9)
        assert len(counts) == 9
        assert ((counts / 10_000 - 1).abs() < 0.05).all()
    assert torch.corrcoef(shift.T.float())[0, 1].abs() < 0.02


def test_brightness_and_contrast_are_uniform_and_independent() -> None:
    jitter = {"op": "brightness_contrast", "brightness": 0.2, "contrast": 0.3}
    draws = make({"op": "normalize"}, jitter).draw_epoch(5, 0, 40_000).draws[1]
    for value, centre, reach in ((draws["shift"], 0.0, 0.2), (draws["factor"], 1.0, 0.3)):
        tenths = torch.histc(value, bins=10, min=centre - reach, max=centre + reach)
        assert ((tenths / 4_000 - 1).abs() < 0.07).all()
    assert torch.corrcoef(torch.stack([draws["shift"], draws["factor"]]))[0, 1].abs() < 0.02


def test_flips_follow_their_probability() -> None:
    assert draws_of(40_000, op="flip", p=0.3)["flip"].float().mean() == pytest.approx(0.3, abs=0.01)
    assert draws_of(1_000, op="flip", p=1.0)["flip"].all()
    assert not draws_of(1_000, op="flip", p=0.0)["flip"].any()


def test_alternating_flip_shows_both_sides_in_two_epochs() -> None:
    augmenter = make({"op": "flip", "mode": "alternating"})
    even, odd, next_even = (augmenter.draw_epoch(5, epoch, 40_000).draws[0]["flip"] for epoch in (0, 1, 2))
    assert torch.equal(even, ~odd)
    assert torch.equal(even, next_even)
    assert even.float().mean() == pytest.approx(0.5, abs=0.01)


def test_rotation_angles_are_uniform() -> None:
    matrix = draws_of(20_000, op="rotate", degrees=5.0)["matrix"]
    degrees = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    assert degrees.abs().max() <= 5.0001
    assert degrees.mean().abs() < 0.1
    assert degrees.std() == pytest.approx(10 / math.sqrt(12), rel=0.02)


def test_cutout_centres_cover_the_whole_grid() -> None:
    draws = draws_of(50_000, op="cutout", size=16, p=0.5)
    centre = draws["corner"] + 8
    assert centre.min() == 0
    assert centre.max() == SIZE - 1
    assert centre.float().mean() == pytest.approx((SIZE - 1) / 2, abs=0.1)
    assert (draws["side"] == 16).float().mean() == pytest.approx(0.5, abs=0.01)


def test_random_resized_crop_boxes_fit_and_spread() -> None:
    top, left, height, width = draws_of(20_000, op="random_resized_crop")["box"].unbind(1)
    assert (top >= 0).all()
    assert (top + height <= SIZE).all()
    assert (left + width <= SIZE).all()
    share = height * width / SIZE**2
    assert share.min() == pytest.approx(0.08, abs=0.02)
    assert share.max() > 0.95
    assert (width / height).log().mean().abs() < 0.02


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixing_weights_are_beta(alpha: float) -> None:
    weight = draws_of(40_000, op="mixup", alpha=alpha)["weight"]
    assert weight.mean() == pytest.approx(0.5, abs=0.01)
    assert weight.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_policies_draw_every_kind_equally() -> None:
    for operation, turns in (({"op": "rand_augment", "operations": 2}, 2), ({"op": "trivial_augment"}, 1)):
        kind = draws_of(28_000, **operation)["kind"]
        assert kind.shape == (28_000, turns)
        assert ((torch.bincount(kind[:, 0], minlength=14) / 2_000 - 1).abs() < 0.1).all()


ALL_OPS = (
    {"op": "crop"},
    {"op": "flip"},
    {"op": "translate"},
    {"op": "rotate", "interpolation": "bilinear"},
    {"op": "random_resized_crop"},
    {"op": "color_jitter", "brightness": 0.2},
    {"op": "trivial_augment"},
    {"op": "normalize"},
    {"op": "brightness_contrast"},
    {"op": "cutout"},
    {"op": "mixup"},
    {"op": "cutmix"},
)


def test_everything_together_has_the_promised_form(images: Tensor, labels: Tensor) -> None:
    before = images.clone()
    inputs, targets, _ = run(make(*ALL_OPS), images, labels)
    assert inputs.shape == (N, 3, SIZE, SIZE)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert targets.shape == (N, 10)
    assert inputs.isfinite().all()
    assert torch.equal(images, before)


def test_a_batch_of_one_and_grey_images() -> None:
    grey = torch.arange(2 * 28 * 28).remainder(256).to(torch.uint8).view(2, 28, 28, 1)
    augmenter = build(Augmentation.model_validate({"ops": list(ALL_OPS)}), 28, 1, 10, None)
    plan = augmenter.draw_epoch(0, 0, 2)
    inputs, _ = augmenter(grey, torch.tensor([0, 1]), torch.tensor([1]), plan)
    assert inputs.shape == (1, 1, 28, 28)
    assert augmenter.normalize(grey).shape == (2, 1, 28, 28)


def test_a_step_takes_its_own_images_draws(images: Tensor, labels: Tensor) -> None:
    augmenter = make({"op": "crop"}, {"op": "flip"}, {"op": "normalize"})
    whole, targets, plan = run(augmenter, images, labels)
    index = plan.order[10:20]
    batch, batch_targets = augmenter(images, labels, index, plan)
    assert torch.equal(batch, whole[index])
    assert torch.equal(batch_targets, targets[index])


@pytest.mark.slow
def test_compiled_equals_eager(images: Tensor, labels: Tensor) -> None:
    augmenter = make({"op": "rotate"}, {"op": "crop"}, {"op": "flip"}, {"op": "normalize"}, {"op": "cutout"})
    plan = augmenter.draw_epoch(0, 0, N)
    index = torch.arange(N)
    compiled = torch.compile(augmenter.__call__, fullgraph=True)
    eager, _ = augmenter(images, labels, index, plan)
    fused, _ = compiled(images, labels, index, plan)
    assert ((eager - fused).abs() > 1e-5).float().mean() < 1e-3
