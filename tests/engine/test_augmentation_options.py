"""Options of data and augmentation: bounds, order, and every preset."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import presets
from engine.options.augmentation import Augmentation
from engine.options.data import Data

PRESETS = sorted((Path(presets.__file__).parent / "augmentation").glob("*.yaml"))


def ops(*kinds: str) -> dict[str, Any]:
    return {"ops": [{"op": kind} for kind in kinds]}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_valid_and_says_what_it_is(path: Path) -> None:
    preset = yaml.safe_load(path.read_text())
    about = preset.pop("about")
    assert 0 < len(about) <= 100
    Augmentation.model_validate(preset)


def test_the_presets_people_are_promised() -> None:
    promised = (
        "none crop_flip rotate_crop_flip crop_flip_rotate norm norm_crop norm_crop_flip totensor crop_flip_cutout16 "
        "seed_a half per_image_mean per_pixel_mean airbench_flip trivial_augment rand_augment mixup cutmix shapes_flip"
    )
    assert set(promised.split()) <= {path.stem for path in PRESETS}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ops("normalize", "normalize"), "twice"),
        (ops("normalize", "color_jitter"), "before normalize"),
        (ops("normalize", "trivial_augment"), "before normalize"),
        (ops("brightness_contrast", "normalize"), "after normalize"),
        (ops("brightness_contrast"), "after normalize"),
        ({"ops": [{"op": "brightness_contrast", "contrast": 1.5}]}, "less than or equal to 1"),
        (ops("mixup", "flip"), "last"),
        ({"ops": [{"op": "crop", "padding": 0}]}, "greater than or equal to 1"),
        ({"ops": [{"op": "crop", "paddng": 4}]}, "Extra inputs"),
        ({"ops": [{"op": "flip", "p": 1.5}]}, "less than or equal to 1"),
        ({"ops": [{"op": "random_resized_crop", "scale_min": 0.9, "scale_max": 0.5}]}, "above scale_max"),
        ({"ops": [{"op": "mirror"}]}, "does not match any of the expected tags"),
        ({"ops": [{"padding": 4}]}, "discriminator"),
    ],
)
def test_augmentation_refuses(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Augmentation.model_validate(options)


def test_mixing_is_known_without_building() -> None:
    assert Augmentation.model_validate(ops("flip", "cutmix")).mixes
    assert not Augmentation.model_validate(ops("flip", "cutout")).mixes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "cifar10", "validation": 50_000}, "nothing to train on"),
        ({"name": "shapes", "train_limit": 10_001}, "more than the 10000"),
        ({"name": "cifar10", "validation": 5_000, "train_limit": 45_001}, "more than the 45000"),
        ({"name": "imagenet"}, "cifar10"),
        ({"image_size": 4}, "greater than or equal to 8"),
        ({"validation": "5000"}, "valid integer"),
    ],
)
def test_data_refuses(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Data.model_validate(options)


def test_data_knows_its_form() -> None:
    data = Data(name="cifar100", validation=5_000, train_limit=1_000, image_size=64, grey=True)
    assert (data.train_images, data.size, data.channels, data.classes) == (1_000, 64, 1, 100)
    assert (Data().train_images, Data().size, Data().channels, Data().classes) == (50_000, 32, 3, 10)
    assert (Data(name="mnist").size, Data(name="mnist").channels) == (28, 1)


def test_options_and_location_stay_clear_of_torch() -> None:
    program = (
        "import sys; import engine.options.augmentation, engine.options.data, engine.data, engine.data.releases; "
        "print([name for name in ('torch', 'numpy', 'torchvision') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
