"""DessiLBI's path read back, pruning by it, and networks made really smaller whose outputs stay the same."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import engine
from engine.analysis import compact, inclusion, pruning
from engine.compiling import CACHE
from engine.counting import cost
from engine.errors import UserError
from engine.experiment import loads
from engine.loading import load_trained
from engine.ownership import is_ours
from engine.runs import RunFolder

TrainedRun = Callable[..., RunFolder]

DESSILBI = """\
architecture: {family: vgg, channels: [8, 12], convolutions: [1, 1], batch_norm: true, global_pool: true, head: []}
augmentation: none
optimizer: {algorithm: dessilbi, lr: 0.05, nu: 1.0, group_lambda: 0.05, lasso_lambda: 0.02}
data: {name: shapes, train_limit: 60}
train: {epochs: 4, batch_size: 20, seed: 1, threads: 1, device: cpu, precision: fp32}
"""


def build(architecture: str) -> nn.Module:
    text = f"architecture: {architecture}\naugmentation: none\noptimizer: adam\ndata: {{name: cifar10}}"
    options = loads(text).architecture
    network: nn.Module = options.resolve_builder()(options, 3, 32, 10)
    return network.eval()


def prune_at_random(network: nn.Module, share: float) -> compact.Traced:
    """Silence filters and move the norms off their first values, so that only a true zero goes unnoticed."""
    traced = compact.trace(network)
    masks = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.Conv2d):
            masks[f"{name}.weight"] = torch.rand(module.out_channels) >= share
    pruning.silence(network, masks, traced.norm_after)
    return traced


@pytest.mark.parametrize(
    "name",
    ["lenet", "vgg_a", "tiny", "resnet20", "resnet32_b", "preact18", "wrn16_8", "densenet_bc_100_12", "airbench94"],
)
def test_the_smaller_network_computes_the_same_in_float64(name: str) -> None:
    torch.manual_seed(1)
    network = build(name).double()
    prune_at_random(network, 0.5)
    small = compact.shrink(network)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        before, after = network(images), small(images)
    assert before.std() > 0
    torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-12)
    parameters, macs = cost(network.float(), 3, 32)
    fewer, cheaper = cost(small.float(), 3, 32)
    assert fewer < 0.8 * parameters
    assert cheaper < 0.8 * macs


@pytest.mark.parametrize(
    "architecture",
    [
        "{family: resnext, cardinality: 2, width: 4, expansion: 2, blocks: [1, 1], stem: 8}",
        "{family: dpn, stem: 8, inner: [8, 16], channels: [16, 32], increments: [4, 4], blocks: [2, 1], groups: 4}",
        "{family: dla, stem: [8], channels: [8, 16], levels: [1, 2]}",
        "{family: slbi_resnet, channels: [8, 8, 16], head: [32, 16]}",
        "{family: shake_shake, blocks: 1, width: 8, stem: 8}",
        "{family: pyramidnet, depth: 8, alpha: 12, stem: 8}",
    ],
)
def test_groups_and_concatenations_keep_what_they_need(architecture: str) -> None:
    torch.manual_seed(1)
    network = build(architecture).double()
    prune_at_random(network, 0.5)
    small = compact.shrink(network)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(small(images), network(images), rtol=1e-10, atol=1e-12)
    assert cost(small.float(), 3, 32)[0] < cost(network.float(), 3, 32)[0]


def test_an_unpruned_network_keeps_its_size() -> None:
    network = build("resnet20")
    assert cost(compact.shrink(network), 3, 32) == cost(network, 3, 32)


def test_the_cost_of_a_pruned_chain_is_what_one_counts_by_hand() -> None:
    network = build("lenet")
    mask = torch.arange(16) >= 10  # conv2 keeps 6 of 16 filters
    pruning.silence(network, {"conv2.weight": mask}, {})
    small = compact.shrink(network)
    parameters, macs = cost(small, 3, 32)
    assert parameters == 62_006 - 10 * (6 * 25 + 1) - 10 * 120 * 25
    before = cost(network, 3, 32)[1]
    assert before - macs == 10 * 100 * 6 * 25 + 120 * 10 * 25


def test_a_norm_that_speaks_up_keeps_its_channel() -> None:
    network = build("tiny")
    conv = next(name for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        network.get_submodule(conv).weight[0] = 0
        norm = network.get_submodule(compact.trace(network).norm_after[conv])
        norm.bias[0] = 1.0
    assert compact.shrink(network).get_submodule(conv).out_channels == network.get_submodule(conv).out_channels


def test_everything_pruned_leaves_a_network_that_runs() -> None:
    network = build("tiny").double()
    prune_at_random(network, 1.0)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(compact.shrink(network)(images), network(images))


def test_scores_are_the_norm_less_the_epoch_of_entry() -> None:
    weight = torch.zeros(3, 1, 2, 2)
    weight[0, 0, 0, 0], weight[1, 0, 0] = 2.0, torch.tensor([3.0, 4.0])
    assert pruning.magnitudes(weight).tolist() == [2.0, 5.0, 0.0]
    assert pruning.path_scores(weight, torch.tensor([4, 7, 0])).tolist() == [-2.0, -2.0, -2000.0]
    assert pruning.magnitudes(torch.tensor([[-3.0, 1.0]])).tolist() == [[3.0, 1.0]]


@pytest.mark.parametrize("ratio", [0, 10, 33.3, 50, 80, 99])
def test_what_stays_is_cut_at_numpys_percentile(ratio: float) -> None:
    scores = torch.randn(120, generator=torch.Generator().manual_seed(0))
    stays = pruning.kept(scores, ratio)
    threshold = np.percentile(scores.double().numpy(), ratio)
    assert stays.tolist() == [ratio == 0 or score >= threshold for score in scores.double().tolist()]
    entries = pruning.kept(scores.view(10, 12), ratio)
    assert entries.flatten().tolist() == [ratio == 0 or score > threshold for score in scores.double().tolist()]


def test_80_percent_of_120_filters_are_96() -> None:
    assert int((~pruning.kept(torch.randn(120), 80)).sum()) == 96


def test_the_path_of_a_run_is_what_its_optimizer_saw(trained_run: TrainedRun) -> None:
    run = trained_run(DESSILBI)
    path = inclusion.read(run)
    assert path.epochs == 4
    assert set(path.entered) == {"stage1.0.weight", "stage2.0.weight", "head.0.weight"}
    for name, entered in path.entered.items():
        assert entered.min() >= 0
        assert entered.max() <= 4
        support = path.support[name]
        now = support.flatten(1).any(1) if support.dim() == 4 else support
        assert (entered[now] > 0).all()
        assert (entered > 0).any()


def test_the_path_as_json_counts_up_epoch_by_epoch(trained_run: TrainedRun) -> None:
    run = trained_run(DESSILBI)
    path = inclusion.record(run)
    assert json.loads((run.path / "results" / "inclusion" / "result.json").read_text()) == path
    for layer in path["layers"]:
        assert len(layer["counts"]) == 4
        assert layer["counts"] == sorted(layer["counts"])
        assert layer["counts"][-1] <= layer["size"]
        if layer["kind"] == "filters":
            entered = [epoch for epoch in layer["entered"] if epoch is not None]
            assert layer["counts"] == [sum(epoch <= end for epoch in entered) for end in range(1, 5)]


def test_counts_by_hand() -> None:
    assert inclusion.counts(torch.tensor([0, 1, 1, 3]), 4) == [2, 2, 3, 3]


def test_w_star_is_w_where_gamma_is_not_zero() -> None:
    weights = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3.0])}
    path = inclusion.InclusionPath({}, {"a": torch.tensor([[True, False]])}, 1)
    sparse = inclusion.sparse_weights(weights, path)
    assert sparse["a"].tolist() == [[1.0, 0.0]]
    assert sparse["b"] is weights["b"]


def test_the_sparse_model_of_a_run(trained_run: TrainedRun) -> None:
    run = trained_run(DESSILBI)
    path = inclusion.read(run)
    sparse, dense = engine.load_sparse(run.path).state_dict(), load_trained(run.path, "last").network.state_dict()
    for name, support in path.support.items():
        assert torch.equal(sparse[name], dense[name] * support)
    assert torch.equal(sparse["head.0.bias"], dense["head.0.bias"])


def question(run: RunFolder, **fields: Any) -> dict[str, Any]:
    usual = {"order": None, "ratios": [0.0, 50.0], "layers": None, "finetune": 0, "beside": None, "device": "cpu"}
    return {"run": str(run.path), **usual, **fields}


def test_pruning_a_run_writes_table_figures_and_smaller_networks(trained_run: TrainedRun, small_data: Any) -> None:
    run = trained_run(DESSILBI)
    answer = pruning.answer(question(run, finetune=1))
    whole, half = answer["rows"]
    assert answer["order"] == "path"
    assert (whole["filters"], whole["kept"]) == (20, 20)
    assert half["kept"] == 10
    assert half["parameters"] < whole["parameters"]
    assert half["macs"] < whole["macs"]
    assert 0 <= half["finetuned"] <= 100
    assert answer["sparse"]["weights"]["stage1.0.weight"] == 8 * 3 * 9
    names = {path.name for path in (run.path / "results" / "pruning-path").iterdir()}
    assert {"result.json", "pruned_0.pt", "pruned_50.pt", "accuracy.png", "inclusion.svg", "filters.png"} <= names
    assert str(run.path / "results" / "pruning-path" / "pruned_50.pt") in answer["files"]
    network = engine.load_pruned(run.path, 50)
    inputs = load_trained(run.path, "last").augmenter(small_data).normalize(small_data.test_images)
    found = 100 * (network(inputs).argmax(1) == small_data.test_labels).float().mean()
    assert found == pytest.approx(half["finetuned"], abs=1e-4)
    assert cost(network, 3, 32) == (half["parameters"], half["macs"])


def test_what_is_pruned_stays_out_while_finetuning(trained_run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[nn.Module, dict[str, Tensor]]] = []
    real = pruning._finetuned

    def watch(job: pruning.Job, network: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
        after = real(job, network, masks)
        seen.append((after, masks))
        return after

    monkeypatch.setattr(pruning, "_finetuned", watch)
    pruning.answer(question(trained_run(DESSILBI), ratios=[50.0], finetune=1))
    ((network, masks),) = seen
    for name, mask in masks.items():
        assert network.state_dict()[name][~mask].abs().max() == 0
        assert network.state_dict()[name][mask].abs().max() > 0


def test_any_run_can_be_pruned_by_magnitude(trained_run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, "")
    answer = pruning.answer(question(trained_run(), layers="stage2|head"))
    assert answer["order"] == "magnitude"
    assert answer["layers"] == {"stage2.0.weight": 12, "head.0.weight": 120}
    assert answer["sparse"] is None
    assert is_ours(Path(os.environ[CACHE])), "torch would make a folder in /tmp, where anybody can take its name"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"order": "path"}, "was trained by sgd, which has no inclusion path"),
        (
            {"layers": "conv9"},
            "--layers conv9: fits no weight that can be pruned; there are stage1.0, stage2.0, head.0",
        ),
        ({"layers": "("}, "--layers \\(: is not a regular expression"),
    ],
)
def test_what_does_not_fit_is_said(trained_run: TrainedRun, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        pruning.answer(question(trained_run(), **fields))


def test_a_network_that_was_not_pruned_cannot_be_loaded(trained_run: TrainedRun) -> None:
    with pytest.raises(UserError, match="was not pruned by magnitude at 30 %; cifar-tui --prune"):
        engine.load_pruned(trained_run().path, 30)


def test_a_pruned_network_is_loaded_as_it_was_written_or_not_at_all(trained_run: TrainedRun) -> None:
    run = trained_run()
    pruning.answer(question(run, ratios=[50.0]))
    pruning.answer(question(run, ratios=[20.0]))
    for ratio in (20, 50):
        engine.load_pruned(run.path, ratio)
    path = run.path / "results" / "pruning-magnitude" / "pruned_50.pt"
    data = bytearray(path.read_bytes())
    place = data.index(torch.load(path, weights_only=True)["head.0.bias"].numpy().tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="sha256"):
        engine.load_pruned(run.path, 50)
    engine.load_pruned(run.path, 20)
    path.with_name("manifest.json").unlink()
    for ratio in (20, 50):
        with pytest.raises(UserError, match="was not pruned"):
            engine.load_pruned(run.path, ratio)


def test_filter_tiles_are_filters_down_and_channels_across() -> None:
    weight = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).view(2, 3, 2, 2) - 5
    tiles = pruning.filter_tiles(weight)
    assert tiles.shape == (4, 6)
    for out in range(2):
        for channel in range(3):
            tile = tiles[2 * out : 2 * out + 2, 2 * channel : 2 * channel + 2]
            assert torch.equal(tile, weight[out, channel].abs())
    assert pruning.filter_tiles(torch.zeros(120, 16, 5, 5)).shape == (50, 50)
