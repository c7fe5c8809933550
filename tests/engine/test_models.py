"""Networks hold what their options and their papers say: shapes, shortcuts, initialisation, and that they learn."""

import copy
import inspect
import math
from typing import Any, NamedTuple, get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.errors import UserError
from engine.models.airbench import whitening_filters
from engine.models.layers import ACTIVATIONS, DataInitialised, conv
from engine.models.resnet import PoolPad, SubsamplePad
from engine.models.shake_shake import ShakeBlock
from engine.optim.dessilbi import build_dessilbi
from engine.options import architecture as families
from engine.options.architecture import Activation, ArchitectureChoice, ArchitectureOptions
from engine.options.optimizer import DessiLbi

FAMILIES: dict[str, type[ArchitectureOptions]] = {
    kind.model_fields["family"].default: kind for kind in get_args(get_args(ArchitectureChoice)[0])
}

# The smallest member of each family that still has all its parts.
SMALL: dict[str, dict[str, Any]] = {
    "resnet": {"stem": 8, "channels": (8, 16), "blocks": (1, 1)},
    "preact_resnet": {"stem": 8, "channels": (8, 16), "blocks": (1, 1)},
    "wide_resnet": {"depth": 10, "widen": 1, "stem": 8},
    "resnext": {"cardinality": 2, "width": 4, "expansion": 2.0, "blocks": (1, 1), "stem": 8},
    "densenet": {"growth": 4, "blocks": (2, 2), "stem": 8},
    "dpn": {"stem": 8, "inner": (8, 16), "channels": (16, 32), "increments": (4, 4), "blocks": (2, 1), "groups": 4},
    "dla": {"stem": (8,), "channels": (8, 16), "levels": (1, 2)},
    "vgg": {"channels": (8, 16), "convolutions": (1, 2), "head": (16,)},
    "lenet": {},
    "slbi_resnet": {"channels": (8, 8, 16), "head": (32, 16)},
    "airbench": {"channels": (16, 16)},
    "shake_shake": {"blocks": 1, "width": 8, "stem": 8},
    "pyramidnet": {"depth": 8, "alpha": 12, "stem": 8},
}


class Given(NamedTuple):
    """A change that shows only where other options are set too."""

    before: dict[str, Any]
    value: Any


# One value of every field that must change the network.
SHARED = {"activation": "silu", "initialization": "xavier"}
CHANGES: dict[str, dict[str, Any]] = {
    "resnet": {
        "stem": 16,
        "stem_kernel": 5,
        "stem_stride": 2,
        "stem_pool": True,
        "channels": (8, 24),
        "blocks": (1, 2),
        "strides": (1, 1),
        "block": "bottleneck",
        "expansion": Given({"block": "bottleneck"}, 2),
        "kernels": (1, 5),
        "shortcut": "subsample_pad",
        "zero_init": True,
        "extra": 32,
        "extra_stride": Given({"extra": 32}, 1),
        "pool": 4,
        "head": (16,),
        "head_activation": Given({"head": (16,)}, True),
        "dropout": (0.5,),
    },
    "preact_resnet": {
        "stem": 16,
        "channels": (8, 24),
        "blocks": (1, 2),
        "strides": (1, 1),
        "block": "bottleneck",
        "expansion": Given({"block": "bottleneck"}, 2),
        "final_norm": False,
    },
    "wide_resnet": {
        "depth": 16,
        "widen": 2,
        "stem": 12,
        "dropout": 0.5,
        "conv_bias": True,
        "shortcut_input": "raw",
    },
    "resnext": {
        "cardinality": 4,
        "width": 8,
        "expansion": 1.0,
        "blocks": (1, 2),
        "stem": 16,
        "stem_kernel": 1,
        "strides": (2, 2),
    },
    "densenet": {"growth": 8, "blocks": (2, 3), "stem": 12, "bottleneck": 0, "compression": 1.0},
    "dpn": {
        "stem": 12,
        "inner": (8, 32),
        "channels": (16, 24),
        "increments": (4, 8),
        "blocks": (2, 2),
        "strides": (2, 2),
        "groups": 2,
    },
    "dla": {"stem": (8, 8), "channels": (8, 24), "levels": (2, 2), "strides": (2, 2)},
    "vgg": {
        "channels": (8, 24),
        "convolutions": (2, 2),
        "batch_norm": True,
        "conv_bias": False,
        "global_pool": True,
        "head": (),
        "dropout": (0.5, 0.0),
    },
    "lenet": {"channels": (6, 16, 60), "head": (), "dropout": (0.5, 0.0)},
    "slbi_resnet": {"channels": (8, 8, 8), "head": (16,), "dropout": 0.1},
    "airbench": {
        "first_activation": "silu",
        "channels": (16, 24),
        "convolutions": 3,
        "whiten_kernel": 3,
        "whiten_eps": 0.5,
        "whiten_images": 4,
        "whiten_centred": False,
        "whiten_bias": "zero",
        "dirac": False,
        "norm_momentum": 0.1,
        "norm_eps": 1e-5,
        "norm_scale": True,
        "logit_scale": 1.0,
        "head_std": 0.5,
    },
    "shake_shake": {"blocks": 2, "width": 16, "stem": 12, "forward": "even", "backward": "keep"},
    "pyramidnet": {
        "depth": 14,
        "alpha": 24,
        "stem": 12,
        "block": Given({"depth": 20}, "bottleneck"),
        "expansion": Given({"depth": 20, "block": "bottleneck"}, 2),
    },
}


def small(family: str, **changes: Any) -> ArchitectureOptions:
    return FAMILIES[family].model_validate({**SMALL[family], **changes})


def build(options: ArchitectureOptions, channels: int = 3, size: int = 32, classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = options.resolve_builder()(options, channels, size, classes)
    return network


def part(network: nn.Module, name: str) -> Any:
    """The submodule of that name, to be called."""
    return network.get_submodule(name)


def images(count: int, channels: int = 3, size: int = 32) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def fingerprint(options: ArchitectureOptions) -> tuple[str, ...]:
    """Structure, first weights, what is trained, output and gradient: whatever a change of options may change."""
    network = build(options)
    if isinstance(network, DataInitialised):
        network.initialise_from_data(images(8))
    torch.manual_seed(0)
    output = network(images(4))
    torch.autograd.backward(output.square().sum())
    weights = {name: float(tensor.detach().double().sum()) for name, tensor in network.state_dict().items()}
    gradients = {
        name: None if parameter.grad is None else float(parameter.grad.double().sum())
        for name, parameter in network.named_parameters()
    }
    return str(network), str(weights), str(output.tolist()), str(gradients)


@pytest.mark.parametrize("family", FAMILIES)
def test_builder_has_no_defaults_of_its_own(family: str) -> None:
    builder = small(family).resolve_builder()
    parameters = inspect.signature(builder).parameters
    assert list(parameters) == ["options", "channels", "size", "classes"]
    assert all(parameter.default is inspect.Parameter.empty for parameter in parameters.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_option_is_listed_here(family: str) -> None:
    own = set(FAMILIES[family].model_fields) - {"family", "name", *SHARED}
    assert set(CHANGES[family]) == own


@pytest.mark.parametrize(
    ("family", "field", "change"),
    [(family, field, change) for family in FAMILIES for field, change in (SHARED | CHANGES[family]).items()],
)
def test_every_option_changes_the_network(family: str, field: str, change: Any) -> None:
    before, value = change if isinstance(change, Given) else Given({}, change)
    plain, changed = small(family, **before), small(family, **before, **{field: value})
    assert fingerprint(plain) == fingerprint(plain.model_copy())
    assert fingerprint(plain) != fingerprint(changed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("channels", "size", "classes"), [(3, 32, 10), (3, 32, 100), (1, 28, 10), (3, 33, 7)])
def test_output_shape(family: str, channels: int, size: int, classes: int) -> None:
    network = build(small(family), channels, size, classes).eval()
    assert network(images(2, channels, size)).shape == (2, classes)


@pytest.mark.parametrize("family", FAMILIES)
def test_learns(family: str) -> None:
    """The loss on 32 random images falls by a third within thirty steps."""
    network = build(small(family, **({"dropout": 0.0} if family == "slbi_resnet" else {})), size=16)
    batch = images(32, size=16)
    labels = torch.arange(32) % 10
    if isinstance(network, DataInitialised):
        network.initialise_from_data(batch)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-2)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(network(batch), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(10), abs=1)
    assert min(losses[-5:]) < losses[0] * 2 / 3


@pytest.mark.parametrize("family", FAMILIES)
def test_dessilbi_takes_every_family(family: str) -> None:
    network = build(small(family))
    options = DessiLbi(lr=0.01, nu=0.1, group_lambda=0.01, lasso_lambda=0.01)
    optimizer = build_dessilbi(options, list(network.named_parameters()))
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(network(images(4)).square().mean())
        optimizer.step()
    assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())
    assert any(bool(state["gamma"].any()) for state in optimizer.state.values() if "gamma" in state)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("activation", get_args(Activation))
def test_activation_is_swapped_everywhere(family: str, activation: Activation) -> None:
    chosen = type(ACTIVATIONS[activation]())
    kinds = {type(make()) for make in ACTIVATIONS.values()}
    found = {type(module) for module in build(small(family, activation=activation)).modules()} & kinds
    assert found == {chosen}


@pytest.mark.parametrize("family", FAMILIES)
def test_activation_leaves_the_first_weights_alone(family: str) -> None:
    """So that activations can be compared from the same start."""
    ours, theirs = build(small(family)), build(small(family, activation="elu"))
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_run_in_bf16_with_channels_last(family: str) -> None:
    network = copy.deepcopy(build(small(family))).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(images(4).to(memory_format=torch.channels_last))
    torch.autograd.backward(output.float().square().sum())
    assert output.dtype == torch.bfloat16
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_all_parameters_are_used(family: str) -> None:
    network = build(small(family)).train()
    torch.autograd.backward(network(images(4)).square().sum())
    unused = [
        name for name, parameter in network.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert unused == []


def test_he_fan_out() -> None:
    network = build(small("resnet", channels=(64, 128), initialization="he_fan_out"))
    weight = part(network, "stage2.0.conv2").weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    head = part(network, "head.0")
    assert head.bias.abs().max() == 0
    assert head.weight.std().item() == pytest.approx(math.sqrt(2 / 10), rel=0.1)


def test_xavier() -> None:
    network = build(small("vgg", channels=(64, 128), initialization="xavier"))
    conv = part(network, "stage2.0")
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / ((64 + 128) * 9)), rel=0.02)
    assert conv.bias.abs().max() == 0


class TestShortcutsWithoutParameters:
    x = torch.arange(2 * 4 * 4).reshape(1, 2, 4, 4).float()

    def test_subsample_puts_zeros_on_both_sides(self) -> None:
        y = SubsamplePad(4, 2)(self.x)
        assert y.shape == (1, 6, 2, 2)
        assert torch.equal(y[:, 2:4], self.x[:, :, ::2, ::2])
        assert y[:, :2].abs().max() == y[:, 4:].abs().max() == 0

    def test_pooling_puts_zeros_at_the_end(self) -> None:
        y = PoolPad(4, 2)(self.x)
        assert torch.equal(y[:, :2], F.max_pool2d(self.x, 2))
        assert y[:, 2:].abs().max() == 0

    def test_same_figures_other_function(self) -> None:
        outputs = [
            build(small("resnet", shortcut=shortcut)).eval()(images(2)) for shortcut in ("subsample_pad", "pool_pad")
        ]
        assert not torch.allclose(*outputs)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"blocks": (2, 2, 2, 2)}),
        ("resnet34", {"blocks": (3, 4, 6, 3)}),
        ("resnet50", {"blocks": (3, 4, 6, 3), "block": "bottleneck"}),
    ],
)
def test_imagenet_form_is_torchvisions(name: str, options: dict[str, Any]) -> None:
    """The same weights give the same logits."""
    models = pytest.importorskip("torchvision.models")
    theirs = getattr(models, name)(num_classes=10).eval()
    ours = build(families.ResNet(stem_kernel=7, stem_stride=2, stem_pool=True, **options)).eval()
    assert [tensor.shape for tensor in ours.state_dict().values()] == [t.shape for t in theirs.state_dict().values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = images(2, size=64)
    torch.testing.assert_close(ours(x), theirs(x))


def test_head_of_linear_layers_is_a_linear_map() -> None:
    """Without an activation between them, as the source of resnet_5m has it."""
    head = part(build(small("resnet", head=(12, 6))), "head").eval()
    a, b = torch.randn(3, 16), torch.randn(3, 16)
    torch.testing.assert_close(head(a + b) + head(torch.zeros(3, 16)), head(a) + head(b))


def test_preactivation_shortcuts() -> None:
    """The identity carries the raw input; a projection is fed by the block's first activation."""
    network = build(small("preact_resnet")).eval()
    x = images(2, 8, 16)
    same, changed = part(network, "stage1.0"), part(network, "stage2.0")
    for block in (same, changed):
        nn.init.zeros_(block.conv2.weight)
    torch.testing.assert_close(same(x), x)
    torch.testing.assert_close(changed(x), changed.shortcut(changed.act1(changed.norm1(x))))


@pytest.mark.parametrize("shortcut_input", ["raw", "activated"])
def test_wide_shortcut_input(shortcut_input: str) -> None:
    block = part(build(small("wide_resnet", shortcut_input=shortcut_input)).eval(), "stage2.0")
    nn.init.zeros_(block.conv2.weight)
    x = images(2, 16, 16)
    expected = x if shortcut_input == "raw" else block.act1(block.norm1(x))
    torch.testing.assert_close(block(x), block.shortcut(expected))


def test_dense_layers_keep_all_earlier_features() -> None:
    layer = part(build(small("densenet")).eval(), "block1.0")
    x = images(2, 8, 16)
    y = layer(x)
    assert y.shape == (2, 12, 16, 16)
    assert torch.equal(y[:, 4:], x)


def test_zero_init_starts_as_identity() -> None:
    block = part(build(small("resnet", zero_init=True)).eval(), "stage1.0")
    x = images(2, 8, 16).abs()
    torch.testing.assert_close(block(x), x)


class TestShakeShake:
    def block(self, **mixing: str) -> ShakeBlock:
        block = part(build(small("shake_shake", **mixing)), "stage1.0")
        assert isinstance(block, ShakeBlock)
        return block

    def mixed(self, block: ShakeBlock) -> tuple[torch.Tensor, torch.Tensor]:
        """Share of the first branch in the output and in the gradient, for each of 64 images."""
        first = torch.ones(64, 1, 1, 1, requires_grad=True)
        second = torch.zeros(64, 1, 1, 1, requires_grad=True)
        output = block.shake(first, second)
        torch.autograd.backward(output.sum())
        assert first.grad is not None
        assert second.grad is not None
        torch.testing.assert_close(first.grad + second.grad, torch.ones(64, 1, 1, 1))
        return output.detach().flatten(), first.grad.flatten()

    def test_forward_and_backward_are_drawn_apart(self) -> None:
        alpha, beta = self.mixed(self.block(forward="shake", backward="shake"))
        assert alpha.std() > 0.2
        assert beta.std() > 0.2
        assert abs(torch.corrcoef(torch.stack([alpha, beta]))[0, 1]) < 0.5

    def test_keep_uses_the_same_numbers_twice(self) -> None:
        alpha, beta = self.mixed(self.block(forward="shake", backward="keep"))
        torch.testing.assert_close(alpha, beta)

    def test_even(self) -> None:
        alpha, beta = self.mixed(self.block(forward="even", backward="even"))
        assert torch.equal(alpha, torch.full((64,), 0.5))
        assert torch.equal(beta, alpha)

    def test_evaluation_takes_the_mean(self) -> None:
        block = self.block().eval()
        x = images(2, 8, 16)
        expected = block.shortcut(x) + (block.branch1(x) + block.branch2(x)) / 2
        torch.testing.assert_close(block(x), expected)


class TestAirbench:
    def test_whitened_patches_are_uncorrelated(self) -> None:
        mixing = torch.randn(3, 3, generator=torch.Generator().manual_seed(2))
        x = F.avg_pool2d(torch.einsum("dc,nchw->ndhw", mixing, images(256)), 3, stride=1)
        y = F.conv2d(x - x.mean(dim=(0, 2, 3), keepdim=True), whitening_filters(x, 2, 1e-9, True))
        flat = y.permute(1, 0, 2, 3).flatten(1)
        torch.testing.assert_close(torch.cov(flat), torch.eye(12), atol=1e-2, rtol=0)

    def test_without_centring_the_second_moment_about_zero_is_whitened(self) -> None:
        """airbench: the rows are u_i / sqrt(s_i + eps) of the patches' mean outer product U S U^T."""
        x = (images(20, size=8) + 3).double()
        patches = F.unfold(x, 2).transpose(1, 2).reshape(-1, 12)
        u, s, _ = torch.linalg.svd(patches.T @ patches / len(patches))
        expected = (u / (s + 5e-4).sqrt()).T
        found = whitening_filters(x, 2, 5e-4, False).flatten(1)
        signs = (found * expected).sum(dim=1, keepdim=True).sign()
        torch.testing.assert_close(found * signs, expected, rtol=1e-6, atol=1e-6)

    def test_the_first_images_alone_are_looked_at(self) -> None:
        network = build(small("airbench", whiten_images=5))
        assert isinstance(network, DataInitialised)
        assert network.initial_images == 5
        network.initialise_from_data(torch.cat([images(5), 9 * images(5)]))
        expected = whitening_filters(images(5), 2, 5e-4, True)
        assert torch.equal(part(network, "whiten").weight[:12], expected)

    def test_the_whitenings_bias_is_drawn_zero_or_absent(self) -> None:
        drawn, zero, none = (build(small("airbench", whiten_bias=how)) for how in ("drawn", "zero", "none"))
        assert part(drawn, "whiten").bias.abs().max() > 0
        assert torch.equal(part(zero, "whiten").bias, torch.zeros(24))
        assert part(zero, "whiten").bias.requires_grad
        assert part(none, "whiten").bias is None

    def test_the_first_activation_alone_can_differ(self) -> None:
        network = build(small("airbench", activation="silu", first_activation="gelu"))
        kinds = [type(module) for module in network.modules() if type(module) in (nn.GELU, nn.SiLU)]
        assert kinds == [nn.GELU, *[nn.SiLU] * 4]

    def test_filters_come_in_pairs_and_stay(self) -> None:
        network = build(small("airbench"))
        assert isinstance(network, DataInitialised)
        network.initialise_from_data(images(64))
        weight = part(network, "whiten").weight
        assert torch.equal(weight[:12], -weight[12:])
        assert not weight.requires_grad

    def test_starts_as_identity(self) -> None:
        conv = part(build(small("airbench", channels=(32, 64))), "groups.group2.conv1")
        x = images(1, 32, 8)
        torch.testing.assert_close(conv(x)[:, :32], x)

    def test_only_airbench_needs_data(self) -> None:
        assert [family for family in FAMILIES if isinstance(build(small(family)), DataInitialised)] == ["airbench"]


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        (families.ResNet(pool=8), 32, "pool is 8 but the last feature map of a 32x32 image is 4x4; choose 4 or less"),
        (families.Vgg(), 16, "5 stages halve a 16x16 image to nothing; choose at most 4 stages"),
        (families.SlbiResNet(), 4, "at least 8 pixels"),
        (families.Airbench(), 8, "3 groups halve a 8x8 image to nothing"),
        (families.DenseNet(), 4, "3 transitions halve a 4x4 image to nothing"),
    ],
)
def test_images_that_do_not_fit(options: ArchitectureOptions, size: int, message: str) -> None:
    assert message in (options.misfit(3, size) or "")
    with pytest.raises(UserError, match="image"):
        options.resolve_builder()(options, 3, size, 10)


@pytest.mark.parametrize("inputs", [1, 3, 4, 7, 8, 16])
def test_a_strided_pointwise_convolution_has_the_gradients_of_its_definition_whatever_its_width(inputs: int) -> None:
    """Below the width of a register oneDNN's own kernel writes past its buffers, and this process would end."""
    torch.manual_seed(0)
    layer = conv(inputs, 8, kernel=1, stride=2).to(memory_format=torch.channels_last)
    images = torch.randn(20, inputs, 32, 32).to(memory_format=torch.channels_last).requires_grad_()
    wanted = torch.randn(20, 8, 16, 16)
    layer(images).backward(wanted)

    weight = layer.weight.detach().double()[:, :, 0, 0].requires_grad_()
    pixels = images.detach().double().requires_grad_()
    output = torch.einsum("oi,nihw->nohw", weight, pixels[:, :, ::2, ::2])
    output.backward(wanted.double())
    assert torch.allclose(layer(images).double(), output, atol=1e-5)
    assert torch.allclose(layer.weight.grad[:, :, 0, 0].double(), weight.grad, atol=1e-3)
    assert torch.allclose(images.grad.double(), pixels.grad, atol=1e-5)
