"""Every architecture preset is counted, and held to torch's own counter and to the exact figures where published."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch.utils.flop_counter import FlopCounterMode

from engine import counting, counts_cache
from engine.options.architecture import ArchitectureChoice, ArchitectureOptions

PRESETS = Path(__file__).parents[2] / "presets" / "architecture"
NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml"))

# Parameters and MACs of one image with ten classes, and how many features the classifier reads; the sources' own logs
# print the parameters.
EXACT = {
    # He et al. 2016, table 6: 0.27M, 0.46M, 0.66M, 0.85M, 1.7M
    "resnet20": (269_722, 40_551_040, 64),
    "resnet32": (464_154, 68_862_592, 64),
    "resnet32_b": (466_906, 69_124_736, 64),
    "resnet32_pool_pad": (464_154, 68_862_592, 64),
    "resnet44": (658_586, 97_174_144, 64),
    "resnet56": (853_018, 125_485_696, 64),
    "resnet110": (1_727_962, 252_887_680, 64),
    "resnet34_imagenet": (21_289_802, 74_765_312, 512),
    # seed-a; its 22.98M for ResNeXt-50 32x4d is a slip
    "resnet18": (11_173_962, 555_422_720, 512),
    "preact18_seed_a": (11_171_146, 555_422_720, 512),
    "wrn28_10_seed_a": (36_489_290, 5_243_328_768, 640),
    "resnext29_2x32d": (2_297_418, 358_814_720, 512),
    "resnext29_2x64d": (9_128_778, 1_409_492_992, 1_024),
    "resnext29_8x64d": (89_598_282, 14_093_099_008, 4_096),
    "resnext29_32x4d": (4_774_218, 772_483_072, 1_024),
    "resnext50_2x40d": (17_296_650, 972_763_648, 1_280),
    "resnext50_8x14d": (20_864_362, 1_203_979_776, 1_792),
    "resnext50_32x4d": (22_991_178, 1_342_394_368, 2_048),
    "resnet50": (23_520_842, 1_297_829_888, 2_048),
    "densenet121": (6_956_298, 888_350_720, 1_024),
    "dpn26": (11_574_842, 665_050_880, 2_432),
    "dla": (16_291_386, 1_030_935_552, 512),
    "vgg_a": (9_750_922, 153_293_824, 512),
    "vgg_a_bn": (9_756_426, 153_293_824, 512),
    "lenet": (61_706, 416_520, 84),
    "slbi_resnet": (21_949_194, 98_248_704, 1_024),
    # the papers' own forms
    "preact18": (11_172_170, 555_422_720, 512),
    "wrn28_10": (36_479_194, 5_243_328_768, 640),
    "wrn40_2": (2_243_546, 327_599_360, 128),
    "densenet_bc_100_12": (769_162, 287_929_692, 342),
    "shake_shake26_2x32d": (2_923_162, 426_689_792, 128),
    "pyramidnet110_a84": (3_904_446, 772_168_168, 100),
    "pyramidnet110_a270": (28_485_477, 4_717_983_724, 286),
    "airbench94": (1_972_792, 118_147_360, 256),
    "airbench95": (4_606_520, 301_560_864, 384),
    # seed-c
    "resnet_c3": (2_777_674, 421_202_432, 256),
    "resnet_c3_233": (4_253_770, 572_197_376, 256),
    "resnet_c3_333": (4_327_754, 647_694_848, 256),
    "resnet_c3_353": (4_918_602, 798_689_792, 256),
    "resnet_c4": (2_809_866, 151_718_400, 256),
    "resnet_c5": (2_811_818, 52_890_112, 256),
    "resnet_c3_kernel15": (4_911_178, 768_281_088, 256),
    "resnet_c3_bottleneck": (4_914_250, 748_365_824, 1_024),
    "resnet_c3_kernel5": (4_964_170, 949_684_736, 256),
    "resnet_c3_pool4_243": (4_556_874, 647_702_528, 1_024),
    "resnet_c3_pool4_353": (4_926_282, 798_697_472, 1_024),
    "resnet_c3_pool2_353": (4_957_002, 798_728_192, 4_096),
    "resnet_c3_extra": (3_960_906, 440_079_360, 512),
    "resnet_c3_extra_head": (4_121_290, 440_239_360, 128),
    "resnet_c3_326": (4_767_442, 498_134_272, 256),
    "resnet_5m": (4_779_530, 264_996_096, 128),
    "resnet_5m_head2": (4_787_146, 265_003_648, 64),
}


def architecture(name: str) -> ArchitectureOptions:
    fields = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    del fields["about"]
    adapter: TypeAdapter[ArchitectureOptions] = TypeAdapter(ArchitectureChoice)
    return adapter.validate_python(fields)


def image_of(options: ArchitectureOptions) -> tuple[int, int]:
    return (1, 28) if options.family == "lenet" else (3, 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_preset_agrees_with_torch(name: str) -> None:
    """On the meta device, built and sent through as a user's own script would."""
    options = architecture(name)
    channels, size = image_of(options)
    counts = counting.count(options, channels, size, 10, 128, "fp32")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = options.resolve_builder()(options, channels, size, 10)
        network.eval()(torch.zeros(1, channels, size, size))
    assert counts.flops == counter.get_total_flops()
    assert counts.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert counts.parameters == sum(layer.parameters for layer in counts.layers)
    assert counts.layers[-1].shape == (10,)


@pytest.mark.parametrize("name", EXACT)
def test_exact_figures(name: str) -> None:
    options = architecture(name)
    parameters, macs, features = EXACT[name]
    ten, hundred = (counting.count(options, *image_of(options), classes, 1, "fp32") for classes in (10, 100))
    assert (ten.parameters, ten.macs) == (parameters, macs)
    weights = features + (options.family != "airbench")  # the bias
    assert (hundred.parameters, hundred.macs) == (parameters + 90 * weights, macs + 90 * features)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("resnet20", 272_474, 40_813_184),
        ("resnet32", 466_906, 69_124_736),
        ("resnet44", 661_338, 97_436_288),
        ("resnet56", 855_770, 125_747_840),
        ("resnet110", 1_730_714, 253_149_824),
    ],
)
def test_the_ladder_of_he_et_al_with_projections(name: str, parameters: int, macs: int) -> None:
    """Option B of section 3.3: two 1x1 convolutions with BatchNorm, 2,752 parameters and 262,144 MACs."""
    projected = architecture(name).model_copy(update={"shortcut": "projection"})
    counts = counting.count(projected, 3, 32, 10, 1, "fp32")
    assert (counts.parameters, counts.macs) == (parameters, macs)


def test_the_flops_that_seed_b_printed() -> None:
    """fvcore counts two for each output of a BatchNorm in evaluation mode and one for each input of the pooling."""
    counts = counting.count(architecture("resnet34_imagenet"), 3, 32, 10, 1, "fp32")
    norms = sum(layer.elements for layer in counts.layers if layer.kind == "BatchNorm2d")
    assert counts.macs + 2 * norms + 512 == 74_918_400


def test_imagenet_form_is_torchvisions_resnet34() -> None:
    counts = counting.count(architecture("resnet34_imagenet"), 3, 224, 1000, 1, "fp32")
    assert (counts.parameters, counts.macs) == (21_797_672, 3_663_761_408)


@pytest.mark.parametrize("name", ["tiny", "resnet20", "resnet_5m"])
def test_activation_bytes_are_what_autograd_keeps(name: str) -> None:
    """Against a real training-mode pass over a batch, whose only addition is BatchNorm's statistics."""
    options = architecture(name)
    counts = counting.count(options, 3, 32, 10, 4, "fp32")
    network = options.resolve_builder()(options, 3, 32, 10)
    own = {tensor.data_ptr() for tensor in network.state_dict().values()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(torch.randn(4, 3, 32, 32))
    assert output.shape == (4, 10)
    maps = sum(tensor.untyped_storage().nbytes() for tensor in kept.values() if tensor.dim() > 1)
    assert counts.activation_bytes == maps


def test_memory_follows_batch_and_precision() -> None:
    options = architecture("resnet20")
    one = counting.count(options, 3, 32, 10, 1, "fp32")
    assert counting.count(options, 3, 32, 10, 64, "fp32").activation_bytes == 64 * one.activation_bytes
    assert 2 * counting.count(options, 3, 32, 10, 1, "bf16").activation_bytes == one.activation_bytes


def test_layers_tell_name_kind_shape_and_cost() -> None:
    layers = {layer.name: layer for layer in counting.count(architecture("resnet20"), 3, 32, 10, 1, "fp32").layers}
    stem = layers["stem.0"]
    assert (stem.kind, stem.detail, stem.shape) == ("Conv2d", "3x3", (16, 32, 32))
    assert (stem.parameters, stem.macs, stem.elements) == (432, 432 * 1024, 16 * 1024)
    assert layers["stage2.0.conv1"].detail == "3x3, stride 2"
    assert (layers["head.0"].detail, layers["head.0"].macs) == ("64 to 10", 640)


def test_counting_leaves_the_generator_and_later_networks_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    counting.count(architecture("resnet20"), 3, 32, 10, 1, "fp32")
    assert torch.equal(torch.rand(3), expected)
    assert torch.nn.Conv2d(3, 8, 3).weight.std() > 0


def test_json_round_trip() -> None:
    counts = counting.count(architecture("tiny"), 3, 32, 10, 128, "bf16")
    text = json.dumps(counts.to_json())
    assert counts_cache.Counts.from_json(json.loads(text)) == counts
    assert json.loads(text)["flops"] == 2 * counts.macs


class TestCache:
    @pytest.fixture(autouse=True)
    def _own_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(counts_cache, "user_cache_path", lambda name: tmp_path / name)

    def test_second_answer_comes_from_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        options = architecture("tiny")
        first = counting.counted(options, 3, 32, 10, 128, "fp32")
        monkeypatch.setattr(counting, "count", None)
        assert counting.counted(options, 3, 32, 10, 128, "fp32") == first

    def test_a_name_alone_is_no_other_network(self) -> None:
        options = architecture("tiny")
        counts = counting.counted(options, 3, 32, 10, 128, "fp32")
        renamed = options.model_copy(update={"name": "tiny"})
        assert counts_cache.lookup(renamed, 3, 32, 10, 128, "fp32") == counts

    def test_another_question_is_not_answered(self) -> None:
        options = architecture("tiny")
        counting.counted(options, 3, 32, 10, 128, "fp32")
        assert counts_cache.lookup(options, 3, 32, 100, 128, "fp32") is None
        assert counts_cache.lookup(options, 3, 32, 10, 64, "fp32") is None
        wider = options.model_copy(update={"channels": (16, 32, 128)})
        assert counts_cache.lookup(wider, 3, 32, 10, 128, "fp32") is None

    @pytest.mark.parametrize(
        "content", [b"", b"[]", b"{}", b'{"layers": 3}', b"\x00\xff", b'{"layers": [{"shape": 1}]}']
    )
    def test_a_damaged_entry_is_counted_anew(self, content: bytes, tmp_path: Path) -> None:
        options = architecture("tiny")
        first = counting.counted(options, 3, 32, 10, 128, "fp32")
        (entry,) = tmp_path.rglob("*.json")
        entry.write_bytes(content)
        assert counting.counted(options, 3, 32, 10, 128, "fp32") == first

    def test_an_unwritable_folder_does_no_harm(self, tmp_path: Path) -> None:
        (tmp_path / "cifar-tui").write_text("a file where the folder should be")
        assert counting.counted(architecture("tiny"), 3, 32, 10, 128, "fp32").parameters == 70_618
