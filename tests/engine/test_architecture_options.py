"""Architecture options: strict, explained, torch-free, and every preset a valid one."""

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from engine.options.architecture import (
    Airbench,
    ArchitectureChoice,
    ArchitectureOptions,
    Dla,
    Dpn,
    LeNet,
    PyramidNet,
    ResNet,
    ResNeXt,
    Vgg,
    WideResNet,
)

PRESETS = Path(__file__).parents[2] / "presets" / "architecture"
NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml"))
KINDS: tuple[type[ArchitectureOptions], ...] = get_args(get_args(ArchitectureChoice)[0])
CHOICE: TypeAdapter[ArchitectureOptions] = TypeAdapter(ArchitectureChoice)


def problem(kind: type[ArchitectureOptions], **fields: Any) -> str:
    """What is said of the fields; fails when nothing is."""
    with pytest.raises(ValidationError) as error:
        kind.model_validate(fields)
    (found,) = error.value.errors()
    return found["msg"]


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_valid_and_says_what_it_is(name: str) -> None:
    fields = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    about = fields.pop("about")
    assert about
    assert len(about) <= 80
    options = CHOICE.validate_python(fields)
    assert CHOICE.validate_python(options.model_dump(mode="json")) == options


def test_every_family_has_a_preset() -> None:
    used = {yaml.safe_load((PRESETS / f"{name}.yaml").read_text())["family"] for name in NAMES}
    assert used == {kind.model_fields["family"].default for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_has_a_sentence_of_help(kind: type[ArchitectureOptions]) -> None:
    for name, field in kind.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_valid(kind: type[ArchitectureOptions]) -> None:
    options = kind.model_validate({})
    assert CHOICE.validate_python(options.model_dump(mode="json")) == options
    assert options.misfit(3, 32) is None


def test_options_are_strict_and_frozen() -> None:
    assert ResNet.model_validate({"channels": [8, 16], "blocks": [1, 1]}).channels == (8, 16)
    assert "valid integer" in problem(ResNet, stem="64")
    assert "valid integer" in problem(ResNet, stem=True)
    assert "not permitted" in problem(ResNet, chanels=[1])
    assert "less than or equal" in problem(ResNet, stem=10**9)
    assert "greater than or equal" in problem(ResNet, blocks=[2, 2, 0, 2])
    with pytest.raises(ValidationError, match="frozen"):
        ResNet().stem = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (
            ResNet,
            {"channels": [64, 128]},
            "blocks has length 4 and channels has length 2; give each stage one",
        ),
        (ResNet, {"strides": [1, 2]}, "strides has length 2 and channels has length 4"),
        (ResNet, {"blocks": []}, "blocks has length 0 and channels has length 4"),
        (ResNet, {"channels": [], "blocks": []}, "channels is empty; give the width of at least one stage"),
        (ResNet, {"head": [128], "dropout": [0.2]}, "dropout has length 1 but the head has 2 linear layers"),
        (ResNet, {"kernels": [3]}, "kernels needs two sizes"),
        (ResNet, {"kernels": [3, 4]}, "a kernel of 4 pixels has no centre; choose an odd size"),
        (ResNet, {"kernels": [1, 5], "block": "bottleneck"}, "kernels belongs to basic blocks"),
        (ResNet, {"channels": [32, 64, 64, 64], "shortcut": "pool_pad"}, "cannot narrow; use projection"),
        (ResNet, {"strides": [1, 2, 2, 4], "shortcut": "pool_pad"}, "strides above 2 need another shortcut"),
        (WideResNet, {"depth": 30}, "depth 30 is not 6n + 4; the nearest that is, is 28"),
        (PyramidNet, {"depth": 100}, "depth 100 is not 6n + 2; the nearest that is, is 98"),
        (PyramidNet, {"depth": 112, "block": "bottleneck"}, "depth 112 is not 9n + 2; the nearest that is, is 110"),
        (ResNeXt, {"strides": [1]}, "strides has length 1 and blocks has length 3"),
        (ResNeXt, {"cardinality": 1, "width": 3}, "expansion 0.5 of 3 channels is no whole number"),
        (Vgg, {"convolutions": [1]}, "convolutions has length 1 and channels has length 5"),
        (Dpn, {"groups": 5}, "inner width 96 cannot be split into 5 groups"),
        (Dla, {"levels": [1, 2, 9, 1]}, "a tree of level 9"),
        (LeNet, {"channels": [6, 16]}, "at least 3 items"),
        (Airbench, {"channels": []}, "at least 1 item"),
    ],
)
def test_contradictions_are_said_in_a_sentence(
    kind: type[ArchitectureOptions], fields: dict[str, Any], said: str
) -> None:
    assert said in problem(kind, **fields)


def test_pool_that_does_not_fit_is_said_before_anything_is_built() -> None:
    options = ResNet(channels=(64, 128, 256), blocks=(2, 2, 2), pool=8)
    assert options.misfit(3, 32) is None
    assert options.misfit(3, 28) == (
        "pool is 8 but the last feature map of a 28x28 image is 7x7; choose 7 or less, or 0 for the global average"
    )


def test_strides_left_out_are_one_and_then_two() -> None:
    assert ResNet().stage_strides == (1, 2, 2, 2)
    assert ResNet(strides=(2, 1, 1, 1)).stage_strides == (2, 1, 1, 1)


def test_options_and_cached_counts_need_no_torch() -> None:
    program = (
        "import sys; from engine import counts_cache; from engine.options.architecture import ResNet;"
        "assert counts_cache.lookup(ResNet(), 3, 32, 10, 128, 'fp32') is None;"
        "sys.exit(bool({'torch', 'numpy', 'torchvision'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
