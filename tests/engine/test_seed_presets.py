"""The tables of the three source projects: every row valid, of the right size, and able to train."""

from collections.abc import Iterator
from functools import cache

import pytest
import torch

from engine import counting, device, presets, sweep
from engine.data.dataset import Dataset
from engine.data.dataset import load as load_data
from engine.experiment import Experiment, load, loads
from engine.training import Training

SOURCES = ("seed_a_", "seed_b_", "seed_c_")
SWEEPS = [name for name in presets.names("sweep") if name.startswith(SOURCES)]
SMALL = [("data.train_limit", "16"), ("train.batch_size", "4"), ("train.device", "cpu"), ("train.precision", "fp32")]
SLIPS = {"ResNeXt-50, 32x4d": 22_980_000}  # printed; every version of the network has 22,991,178

# Parameters of each row, counted in networks written anew from the sources' descriptions.
BASE = 2_777_674
PARAMETERS = {
    "seed_a_general": (11_173_962, 11_171_146, 36_489_290, 4_774_218, 6_956_298, 11_574_842, 16_291_386),
    "seed_a_ablation": (
        *(11_173_962, 23_520_842, 2_297_418, 9_128_778, 89_598_282, 17_296_650, 20_864_362),
        22_991_178,
    ),
    "seed_a_final": (36_489_290,),
    "seed_a_activation": (11_173_962,) * 5,
    "seed_a_loss": (11_173_962,) * 4,
    "seed_a_optimizer": (11_173_962,) * 4,
    "seed_a_batchnorm": (9_750_922,) * 4 + (9_756_426,) * 4,
    "seed_b_plateau": (21_289_802,) * 2,
    "seed_b_he_ladder": (269_722, 464_154, 658_586, 853_018, 1_727_962),
    "seed_b_adam": (21_289_802,) * 4,
    "seed_b_counts": (21_289_802, 21_335_972),
    "seed_c_best": (4_779_530,),
    "seed_c_augmentation": (BASE,) * 5,
    "seed_c_lr_wd": (BASE,) * 5,
    "seed_c_batch_size": (BASE,) * 4,
    "seed_c_optimizers": (BASE,) * 8,
    "seed_c_blocks": (4_253_770, 4_327_754, 4_549_194, 4_918_602),
    "seed_c_channels": (BASE, 2_809_866, 2_811_818),
    "seed_c_kernels": (4_911_178, 4_914_250, 4_964_170),
    "seed_c_pool": (4_556_874, 4_926_282, 4_957_002),
    "seed_c_extra_layers": (BASE, 3_960_906, *[4_121_290] * 5, 3_960_906, 4_767_442),
    "seed_c_longer": (4_779_530, *[4_787_146] * 3),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rows(name: str) -> list[Experiment]:
    return [row.experiment for row in sweep.load(name).rows]


def every_row() -> list[tuple[str, Experiment]]:
    return [(f"{name}: {row.name}", row.experiment) for name in SWEEPS for row in sweep.load(name).rows]


def network(experiment: Experiment) -> torch.nn.Module:
    data = experiment.data
    built: torch.nn.Module = experiment.architecture.resolve_builder()(
        experiment.architecture, data.channels, data.size, data.classes
    )
    return built


@cache
def size_of(structure: str) -> int:
    """Parameters of an experiment's network, built on the meta device, where nothing is drawn or allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in network(loads(structure)).parameters())


def parameters(experiment: Experiment) -> int:
    return size_of(Experiment.to_yaml(experiment.model_copy(update={"name": "", "notes": "", "published": None})))


def trained(experiment: Experiment, steps: int) -> Training:
    """Some steps of the same recipe on drawn shapes in place of the images."""
    data = experiment.data
    grey = ", image_size: 28, grey: true" if data.channels == 1 else ""
    shapes = f"{{name: shapes, validation: {10 if data.validation else 0}, train_limit: 16{grey}}}"
    length = [("train.steps", str(max(1, steps))), ("train.epochs", "1"), ("optimizer.warmup", "{}")]
    small = loads(experiment.to_yaml(), "row", [("data", shapes), *SMALL[1:], *length])
    training = Training(small, device.settle(small.train, small.total_steps), shapes_of(small))
    for step in range(steps):
        plan = training.draw_epoch()
        training.take_step(plan, step % training.experiment.steps_per_epoch)
    return training


def shapes_of(experiment: Experiment) -> Dataset:
    return _shapes(experiment.data.model_dump_json())


@cache
def _shapes(data: str) -> Dataset:
    from engine.options.data import Data

    return load_data(Data.model_validate_json(data), report=lambda line: None)


def learns(training: Training) -> bool:
    """Whether the loss is finite and every weight is still a number."""
    figures = training.meters.read()
    whole = all(bool(torch.isfinite(parameter).all()) for parameter in training.model.parameters())
    return figures.bad_step < 0 and figures.window.images > 0 and whole


def test_every_table_of_the_sources_is_here() -> None:
    assert set(SWEEPS) == set(PARAMETERS)


@pytest.mark.parametrize("name", SWEEPS)
def test_every_network_has_its_parameters_and_they_are_the_published_ones(name: str) -> None:
    found = sweep.load(name).rows
    assert tuple(parameters(row.experiment) for row in found) == PARAMETERS[name]
    for row, exact in zip(found, PARAMETERS[name], strict=True):
        printed = row.published.parameters
        assert printed is None or same_count(printed, exact) or SLIPS.get(row.name) == printed, row.name


def same_count(printed: int, exact: int) -> bool:
    """Whether ``printed`` is ``exact``, rounded or cut off where its zeros begin."""
    unit = 10 ** (len(str(printed)) - len(str(printed).rstrip("0")))
    return printed in (round(exact / unit) * unit, exact // unit * unit) and unit <= 100_000


@pytest.mark.parametrize(("name", "row", "macs"), [("seed_c_blocks", 2, 647_694_848), ("seed_b_counts", 1, 74_811_392)])
def test_networks_without_a_preset_of_their_own_have_their_macs(name: str, row: int, macs: int) -> None:
    experiment = rows(name)[row]
    data = experiment.data
    counts = counting.count(experiment.architecture, data.channels, data.size, data.classes, 1, "fp32")
    assert counts.macs == macs


@pytest.mark.parametrize("name", SWEEPS)
def test_every_row_carries_what_was_published(name: str) -> None:
    found = sweep.load(name)
    assert found.about
    assert found.notes
    numbered = [row for row in found.rows if row.published.test_accuracy is not None]
    figures_only = ("seed_a_activation", "seed_a_loss", "seed_a_optimizer", "seed_a_batchnorm", "seed_b_counts")
    assert len(numbered) == (0 if name in figures_only else 1 if name == "seed_b_adam" else len(found.rows))
    assert all(row.published.source for row in numbered)


@pytest.mark.parametrize("name", [name for name in SWEEPS if name.startswith("seed_a_")])
def test_seed_a_watches_the_test_set_and_trains_on_all_images(name: str) -> None:
    for experiment in rows(name):
        assert (experiment.train.watch, experiment.data.train_images) == ("test", 50_000)


@pytest.mark.parametrize("name", [name for name in SWEEPS if name.startswith("seed_c_")])
def test_seed_c_stops_early_but_for_its_long_runs(name: str) -> None:
    for experiment in rows(name):
        stopping, epochs = experiment.train.early_stopping, experiment.total_epochs
        assert (experiment.data.train_images, experiment.train.seed, experiment.train.watch) == (
            45_000,
            6953,
            "validation",
        )
        if name in ("seed_c_best", "seed_c_longer"):
            assert (stopping, epochs) == (None, 200)
            continue
        assert stopping is not None
        assert (stopping.patience, stopping.min_delta, stopping.min_delta_mode, epochs) == (5, 0.1, "abs", 100)


def test_rows_that_are_not_what_the_text_says() -> None:
    """Where text and logs differ, the rows are what was run."""
    assert {one.optimizer.weight_decay for one in rows("seed_c_augmentation")} == {0.1}
    wide = next(row for row in sweep.load("seed_a_ablation").rows if row.name == "ResNeXt-29, 8x64d")
    assert wide.experiment.train.batch_size == 64
    plateau = rows("seed_b_plateau")[0]
    assert (plateau.architecture.name, plateau.augmentation.name) == ("resnet34_imagenet", "per_image_mean")


@pytest.mark.parametrize("name", ["seed_a_activation", "seed_a_loss", "seed_a_optimizer"])
def test_members_of_a_comparison_start_from_equal_weights_and_see_equal_batches(name: str) -> None:
    """Weights follow from seed and architecture, images from the seed: nothing else in these rows touches either."""
    starts = [trained(experiment, 0) for experiment in rows(name)]
    first = starts[0].model.state_dict()
    plan = starts[0].draw_epoch()
    batch, _ = starts[0].augment(starts[0].data.train_images, starts[0].data.train_labels, plan.order, plan)
    for other in starts[1:]:
        assert all(map(torch.equal, first.values(), other.model.state_dict().values()))
        theirs = other.draw_epoch()
        images, _ = other.augment(other.data.train_images, other.data.train_labels, theirs.order, theirs)
        assert torch.equal(batch, images)


@pytest.mark.parametrize(
    ("preset", "name", "row"),
    [
        ("resnet18_plateau", "seed_a_general", 0),
        ("resnet18_plateau", "seed_a_ablation", 0),
        ("resnext29_8x64d_plateau", "seed_a_ablation", 4),
        ("wrn28_10_cutout", "seed_a_final", 0),
        ("vgg_a_adam", "seed_a_batchnorm", 1),
        ("vgg_a_bn_adam", "seed_a_batchnorm", 5),
        ("resnet32_he", "seed_b_he_ladder", 1),
        ("resnet110_he", "seed_b_he_ladder", 4),
        ("resnet34_plateau_200", "seed_b_plateau", 0),
        ("best_5m", "seed_c_best", 0),
        ("best_5m", "seed_c_longer", 0),
    ],
)
def test_a_headline_row_is_also_a_preset_and_the_very_same_run(preset: str, name: str, row: int) -> None:
    alone, listed = load(preset), rows(name)[row]
    assert alone.config_hash == listed.config_hash
    if alone.published:
        assert listed.published is not None
        figures = {"test_accuracy", "checkpoint", "parameters", "source"}
        assert alone.published.model_dump(include=figures) == listed.published.model_dump(include=figures)


# The cheapest member of every family and of every kind of loss, optimiser and augmentation that the tables have.
EACH_FAMILY = [
    ("seed_c_channels", 2),
    ("seed_c_augmentation", 4),
    ("seed_c_extra_layers", 4),
    ("seed_a_general", 1),
    ("seed_a_general", 3),
    ("seed_a_general", 4),
    ("seed_a_general", 5),
    ("seed_a_general", 6),
    ("seed_a_batchnorm", 5),
    ("seed_b_he_ladder", 0),
    ("seed_b_plateau", 0),
    ("seed_b_counts", 1),
]


@pytest.mark.parametrize(("name", "row"), EACH_FAMILY)
def test_one_member_of_each_family_trains_a_step(name: str, row: int) -> None:
    assert learns(trained(rows(name)[row], 1))


def test_the_wide_network_trains_a_step_narrow() -> None:
    """The one family that is too heavy here is trained with its stages a tenth as wide."""
    wide = loads(rows("seed_a_final")[0].to_yaml(), "row", [("architecture.widen", "1")])
    assert learns(trained(wide, 1))


@pytest.mark.slow
@pytest.mark.parametrize(("row", "experiment"), [pytest.param(*pair, id=pair[0]) for pair in every_row()])
def test_every_row_trains_some_steps(row: str, experiment: Experiment) -> None:
    assert learns(trained(experiment, 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("lenet_dessilbi", "dessilbi"),
        ("lenet_dessilbi", "dessilbi_seed_a"),
        ("lenet_dessilbi_shapes", "dessilbi"),
        ("cifar_dessilbi", "dessilbi_cifar"),
        ("slbi_resnet_adam", "adam_1e-3"),
        ("slbi_resnet_adam", "dessilbi_adam"),
        ("slbi_resnet_adam", "dessilbi_adam_seed_a"),
    ],
)
def test_the_presets_of_rows_in_no_table_train_some_steps(name: str, optimizer: str) -> None:
    assert learns(trained(load(name, [("optimizer", optimizer)]), 3))
