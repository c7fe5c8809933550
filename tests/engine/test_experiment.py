"""Experiments: composed of named ingredients, overridden, refused with sentences, resolved and hashed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine import presets
from engine.errors import UserError
from engine.experiment import Experiment, load, loads
from engine.options.base import Options
from engine.options.training import Train
from engine.preset_schema import KINDS, schema

PRESET = """\
architecture: {family: resnet, stem: 8, channels: [8], blocks: [1], pool: 0, head: []}
augmentation: {ops: []}
optimizer:
  algorithm: sgd
  lr: 0.1
  schedule: {kind: plateau, patience: 5}
data: {name: shapes, validation: 1000}
train:
  epochs: 2
"""


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.fixture(autouse=True)
def _no_user_presets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_the_resolved_yaml_alone_makes_the_same_experiment() -> None:
    experiment = load("best_5m")
    again = loads(experiment.to_yaml())
    assert again == experiment
    assert again.config_hash == experiment.config_hash


@pytest.mark.parametrize("name", presets.names("experiment"))
def test_every_preset_is_valid(name: str) -> None:
    experiment = load(name)
    assert experiment.name == name
    assert experiment.total_steps > 0


@pytest.mark.parametrize("kind", presets.INGREDIENTS)
def test_every_ingredient_is_valid_and_says_what_it_is(kind: presets.Kind) -> None:
    listed = presets.catalogue(kind)
    assert listed
    for preset in listed:
        assert preset.about, preset.path
        fitting = [("data", "{name: mnist}")] if preset.name == "lenet" else []
        assert load("best_5m", [(kind, preset.name), *fitting])


def test_best_5m_is_the_published_network_and_recipe() -> None:
    experiment = load("best_5m")
    assert experiment.headline()["architecture"] == "resnet_5m"
    assert experiment.train.epochs == 200
    assert experiment.data.train_images == 45_000
    assert experiment.steps_per_epoch == 352
    assert experiment.optimizer.lr == 0.001
    assert experiment.optimizer.weight_decay == 5e-4


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("architecture.blocks", "[2]", lambda e: e.architecture.blocks == (2,)),
        ("architecture.head", "[]", lambda e: e.architecture.head == ()),
        ("optimizer.lr", "1e-2", lambda e: e.optimizer.lr == 0.01),
        ("optimizer.schedule.patience", "7", lambda e: e.optimizer.schedule.patience == 7),
        ("optimizer.schedule", "{kind: cosine}", lambda e: e.optimizer.schedule.kind == "cosine"),
        ("architecture", "resnet20", lambda e: e.architecture.name == "resnet20"),
        ("train.seed", "9", lambda e: e.train.seed == 9),
        ("name", "no", lambda e: e.name == "no"),
    ],
)
def test_overrides_change_single_fields(key: str, value: str, read: Any) -> None:
    assert read(loads(PRESET, overrides=[(key, value)]))


@pytest.mark.parametrize(
    ("key", "value", "stays"),
    [
        ("train.seed", "4", True),
        ("train.epochs", "1", True),
        ("architecture", "resnet_5m", True),
        ("optimizer.lr", "0.001", True),
        ("optimizer.lr", "0.01", False),
        ("architecture.blocks", "[2, 4, 4, 2]", False),
        ("augmentation", "norm", False),
    ],
)
def test_a_published_figure_stays_with_its_ingredients(key: str, value: str, stays: bool) -> None:
    assert (load("best_5m", [(key, value)]).published is not None) == stays


def test_an_override_inside_a_named_ingredient_keeps_the_rest() -> None:
    experiment = load("best_5m", [("optimizer.lr", "0.01"), ("architecture.head", "[64]")])
    assert experiment.optimizer.lr == 0.01
    assert experiment.optimizer.name == "adamw_amsgrad"
    assert experiment.architecture.name == "resnet_5m"


REFUSED = [
    (changed(PRESET, "  epochs: 2", "  epoch: 2"), r':9: train.epoch: unknown key; did you mean "epochs"\?'),
    (changed(PRESET, "  lr: 0.1", "  learning_rat: 0.1"), r":5: optimizer.learning_rat: unknown key"),
    (changed(PRESET, "  epochs: 2", "  epochs: two"), r':9: train.epochs: found "two"; allowed is a number'),
    (changed(PRESET, "  epochs: 2", "  epochs: 0"), r":9: train.epochs: found 0; allowed is more than 0"),
    (changed(PRESET, "  epochs: 2", "  epochs: -1.0"), r"train.epochs: found -1; allowed is more than 0$"),
    (
        changed(PRESET, "  epochs: 2", "  device: gpu"),
        r'train.device: found "gpu"; allowed are auto, cpu, mps, cuda, cuda:N',
    ),
    (changed(PRESET, "  epochs: 2", "  seed: 1.5"), r":9: train.seed: found 1.5; allowed is a whole number"),
    (changed(PRESET, "  epochs: 2", "  epochs: .inf"), r":9: train.epochs: found .*; allowed is a"),
    (
        changed(PRESET, "  algorithm: sgd", "  algorithm: sdg"),
        r':4: optimizer.algorithm: found "sdg"; allowed .* "sgd"\?',
    ),
    (
        changed(PRESET, "kind: plateau", "kind: plato"),
        r':6: optimizer.schedule.kind: found "plato"; allowed .* "plateau"\?',
    ),
    (changed(PRESET, "name: shapes", "name: cifar11"), r':7: data.name: found "cifar11"; .* did you mean "cifar1'),
    (
        changed(PRESET, "channels: [8]", "channels: [8, 16]"),
        r":1: architecture: blocks has length 1 and channels has length 2",
    ),
    (
        changed(PRESET, "patience: 5", "patience: -1"),
        r":6: optimizer.schedule.patience: found -1; allowed is at least 0",
    ),
    (changed(PRESET, "  epochs: 2", "  batch_size: 9999"), r"batch_size 9999 is more than the 9000 images"),
    (changed(PRESET, "validation: 1000", "validation: 0"), r"optimizer.schedule has nothing to watch: .* is 0"),
    (changed(PRESET, "  epochs: 2", "  watch: none"), r"optimizer.schedule has nothing to watch: train.watch is none"),
    (changed(PRESET, "  epochs: 2", "  drop_last: true\n  carry_over: true"), r"drop_last leaves out .* choose one"),
    (changed(PRESET, "{ops: []}", "resnet_flip"), r':2: augmentation: no augmentation preset is called "resnet_flip"'),
    (changed(PRESET, "architecture: {", "architecure: {"), r'architecure: unknown key; did you mean "architecture"\?'),
    (
        changed(PRESET, "{ops: []}", "{ops: [{op: cutout, size: 33, inside: true}]}"),
        r"a cutout of 33 pixels does not lie inside an image of 32",
    ),
    ("- 1\n- 2\n", r"found a list; a preset is a mapping"),
]


@pytest.mark.parametrize(
    ("train", "smallest"),
    [
        ("batch_size: 8", 8),
        ("batch_size: 16", 8),
        ("batch_size: 16, drop_last: true", 16),
        ("batch_size: 16, carry_over: true", 16),
        ("batch_size: 16, steps: 9", 16),
    ],
)
def test_the_smallest_batch_is_the_last_of_an_epoch_unless_it_is_never_met(train: str, smallest: int) -> None:
    text = changed(PRESET, "train:\n  epochs: 2", f"train: {{{train}}}")
    assert loads(text).smallest_batch == smallest


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_a_mistake_is_named_with_line_key_and_what_is_allowed(text: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        loads(text, "mine.yaml")
    assert re.search(sentence, str(caught.value)), str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_all_problems_of_a_file_are_reported_at_once() -> None:
    text = changed(changed(changed(PRESET, "lr: 0.1", "lr: -1"), "epochs: 2", "epoch: 2"), "name: shapes", "name: 3")
    with pytest.raises(UserError) as caught:
        loads(text, "mine.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("mine.yaml:") for line in lines)


def test_an_ingredient_that_does_not_exist_hides_no_other_problem() -> None:
    text = changed(changed(PRESET, "{ops: []}", "resnet_flip"), "lr: 0.1", "lr: -1")
    with pytest.raises(UserError) as caught:
        loads(text, "mine.yaml", [("architecture", "nope")])
    first, second, third = str(caught.value).splitlines()
    assert first.startswith('--set architecture: no architecture preset is called "nope"')
    assert second.startswith('mine.yaml:2: augmentation: no augmentation preset is called "resnet_flip"')
    assert third == "mine.yaml:5: optimizer.lr: found -1; allowed is more than 0"


def test_an_unknown_key_in_an_override_gets_the_sentence_that_one_in_a_file_gets() -> None:
    with pytest.raises(UserError) as in_file:
        loads(changed(PRESET, "  epochs: 2", "  epoch: 2"), "mine.yaml")
    with pytest.raises(UserError) as in_override:
        loads(PRESET, "mine.yaml", [("train.epoch", "2")])
    sentence = 'train.epoch: unknown key; did you mean "epochs"?'
    assert sentence in str(in_file.value)
    assert str(in_override.value).startswith(f"--set {sentence}")


def test_a_mistake_in_an_override_names_the_override() -> None:
    with pytest.raises(UserError, match=r"--set optimizer.lr: found -1; allowed is more than 0"):
        load("best_5m", [("optimizer.lr", "-1")])


def test_an_override_reaches_into_the_lists_of_a_named_ingredient() -> None:
    changed_ops = load("best_5m", [("architecture.blocks.1", "9"), ("augmentation.ops.0.degrees", "20")])
    plain = load("best_5m")
    assert changed_ops.architecture.model_dump()["blocks"] == (3, 9, 4, 3)
    assert changed_ops.augmentation.ops[0].model_dump()["degrees"] == 20
    assert changed_ops.augmentation.ops[1:] == plain.augmentation.ops[1:]


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("foo.bar", "--set foo: unknown key"),
        ("foo." + "9" * 5000, "--set foo: unknown key"),
        ("architecture.blocks.4", "--set architecture.blocks: found {'4': 0}; allowed is a list"),
        ("augmentation.ops.0.degrees", "--set augmentation.ops.0.degrees: found 0; allowed is more than 0"),
    ],
)
def test_a_mistake_deep_in_an_override_names_the_override(key: str, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        load("best_5m", [(key, "0")])


def test_a_mistake_in_an_ingredient_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "presets" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("about: wrong\nalgorithm: sgd\nlr: 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"presets/optimizer/mine.yaml:3: optimizer.lr: found 0"):
        load("best_5m", [("optimizer", "mine")])


def test_a_preset_here_hides_the_installed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "best_5m.yaml").write_text(PRESET)
    monkeypatch.chdir(tmp_path)
    assert load("best_5m").data.name == "shapes"


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match='did you mean "best_5m"'):
        load("best5m")


def test_hashes_ignore_labels_and_the_group_ignores_the_seed() -> None:
    base = loads(PRESET)
    renamed = loads(PRESET, overrides=[("name", "other"), ("notes", "a remark"), ("tags", "[x]")])
    reseeded = loads(PRESET, overrides=[("train.seed", "5")])
    longer = loads(PRESET, overrides=[("train.epochs", "3")])
    assert renamed.config_hash == base.config_hash
    assert reseeded.config_hash != base.config_hash
    assert reseeded.group_hash == base.group_hash
    assert longer.group_hash != base.group_hash


@pytest.mark.parametrize(
    ("younger", "default", "other"),
    [
        ("train.carry_over", "false", "true"),
        ("optimizer.decay_order", "before", "after"),
        ("optimizer.newton_schulz_coefficients", "[3.4445, -4.775, 2.0315]", "[3.4576, -4.7391, 2.0843]"),
        ("train.selection.proxy.whiten_bias", "drawn", "none"),
    ],
)
def test_an_option_younger_than_runs_leaves_their_hash_as_it_was(younger: str, default: str, other: str) -> None:
    ingredients = [
        ("optimizer", "{algorithm: muon, normalize_filters: true}"),
        ("train.selection", "{proxy: {family: airbench}}"),
    ]
    hashes = [loads(PRESET, overrides=[*ingredients, (younger, value)]).config_hash for value in (default, other)]
    dump = loads(PRESET, overrides=ingredients)._deciding()
    *path, field = younger.split(".")
    for step in path:
        dump = dump[step]
    assert field not in dump
    assert hashes[0] == loads(PRESET, overrides=ingredients).config_hash != hashes[1]


def test_what_decides_is_all_but_younger_options_at_their_defaults() -> None:
    """Options from before any run existed count even at their defaults, as the hashes of those runs do."""
    experiment = loads(PRESET)
    decides, whole = experiment.deciding(), experiment.model_dump(mode="json")
    assert set(whole["train"]) - set(decides["train"]) == Train.younger
    assert {**whole, "train": None} == {**decides, "train": None}


def test_younger_names_are_names_of_options() -> None:
    kinds, seen = [Options], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        seen |= kind.younger
        assert kind.younger <= set(kind.model_fields)
    assert seen


def test_the_schema_knows_every_key_and_the_short_forms() -> None:
    described = schema()
    assert set(described["properties"]) == set(Experiment.model_fields)
    forms = described["properties"]["optimizer"]["anyOf"]
    assert forms[0]["type"] == "string"
    assert "adamw_amsgrad" in forms[0]["anyOf"][0]["enum"]
    assert forms[1]["required"] == ["use"]


def test_every_option_has_a_sentence_of_help() -> None:
    definitions = schema()["$defs"]
    bare = [
        f"{name}.{key}"
        for name, definition in definitions.items()
        for key, field in definition.get("properties", {}).items()
        if not field.get("description") and "const" not in field
    ]
    assert bare == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_schemas_beside_the_presets_are_those_of_the_code(kind: presets.Kind) -> None:
    written = Path(presets.__file__).parent.parent / "presets" / "schema" / f"{kind}.json"
    assert json.loads(written.read_text()) == json.loads(json.dumps(schema(kind))), "run: make schema"


@pytest.mark.parametrize("kind", KINDS)
def test_every_preset_points_its_editor_at_the_schema(kind: presets.Kind) -> None:
    folder = "" if kind == "experiment" else "../"
    for preset in presets.catalogue(kind):
        first = preset.path.read_text().partition("\n")[0]
        assert first == f"# yaml-language-server: $schema={folder}schema/{kind}.json", preset.path
