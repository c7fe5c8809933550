from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import presets
from engine.counts_cache import Counts, LayerCount
from engine.errors import UserError
from engine.run_view import RunView
from tui import new_facts, new_form, theme
from tui.new_form import Catalogue, Form

LAYERS = (
    LayerCount("stem.0", "Conv2d", "3x3", (16, 32, 32), 432, 442_368),
    LayerCount("stem.1", "ReLU", "", (16, 32, 32), 0, 0),
    LayerCount("stage1.0.conv1", "Conv2d", "3x3", (16, 32, 32), 2304, 2_359_296),
    LayerCount("stage1.1.conv1", "Conv2d", "3x3", (32, 32, 32), 4608, 4_718_592),
    LayerCount("head", "Linear", "32 to 10", (10,), 330, 320),
)
COUNTS = Counts(7674, 7674, 7_520_576, 1 << 20, LAYERS, 3, 32, 10, 1, "fp32")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return new_form.read_catalogue()


@pytest.fixture
def quickstart(catalogue: Catalogue) -> Form:
    return new_form.begin("quickstart", catalogue)


def problem(form: Form) -> tuple[str, str]:
    return new_form.draft(form).problems[0]


def choice(catalogue: Catalogue, kind: str, name: str) -> new_form.Choice:
    return next(one for one in catalogue.choices[kind] if one.name == name)  # type: ignore[index]


def past(**changes: Any) -> RunView:
    facts: dict[str, Any] = {
        "epoch": 10.0,
        "epochs": 10.0,
        "steps": 900,
        "batch_size": 100,
        "active_s": 50.0,
        "images_s": 2000.0,
    }
    names = {
        "architecture": "tiny",
        "dataset": "shapes",
        "device": "cpu some processor",
        "precision": "fp32",
        "macs": 7_520_576,
    }
    return replace(RunView("20260101-000000-abcdef", Path("/x"), "finished"), **{**facts, **names, **changes})


def test_every_installed_experiment_begins_a_valid_form(catalogue: Catalogue) -> None:
    for preset in catalogue.experiments:
        draft = new_form.draft(new_form.begin(preset.name, catalogue))
        assert draft.valid, (preset.name, draft.problems)


def test_a_form_gives_back_the_experiment_it_began_with(catalogue: Catalogue) -> None:
    from engine import experiment

    for name in ("quickstart", "best_5m", "best_5m_sgd"):
        again = new_form.draft(new_form.begin(name, catalogue)).experiment
        assert again is not None
        assert again.config_hash == experiment.load(name).config_hash


def test_quickstart_comes_first(catalogue: Catalogue) -> None:
    assert catalogue.experiments[0].name == "quickstart"


def test_what_an_experiment_changes_in_a_preset_is_a_choice_of_its_own(quickstart: Form) -> None:
    assert quickstart.chosen["optimizer"].changed
    assert "lr 0.04" in quickstart.chosen["optimizer"].about
    assert not quickstart.chosen["architecture"].changed


@pytest.mark.parametrize(
    ("field", "text", "part"),
    [
        ("epochs", "0", "epochs: found 0; allowed is more than 0"),
        ("epochs", "many", "allowed is a number"),
        ("epochs", " ", "epochs: nothing given"),
        ("batch_size", "129000", "batch size: found 129000; allowed is at most 60000"),
        ("batch_size", "1e", "batch size"),
        ("data", "cifer10", 'did you mean "cifar10"?'),
        ("device", "gpu", "cuda:N"),
        ("precision", "fp16", "bf16"),
        ("seeds", "one", '"one" is no seed'),
        ("seeds", "", "seeds: none given"),
        ("seeds", "1 1", "twice"),
        ("seeds", "1-1000", "is no seed"),
        ("set", "optimizer.lr", "KEY=VALUE"),
        ("set", "train.threads=-1", "train.threads"),
    ],
)
def test_what_is_wrong_is_said_of_its_field(quickstart: Form, field: str, text: str, part: str) -> None:
    where, sentence = problem(quickstart.with_text(field, text))
    assert where == field
    assert part in sentence
    assert "\n" not in sentence
    assert "form:" not in sentence


def test_a_wrong_option_of_an_ingredient_is_said_of_its_list(quickstart: Form) -> None:
    where, sentence = problem(quickstart.with_text("set", "optimizer.lrr=2"))
    assert where == "optimizer"
    assert 'did you mean "lr"?' in sentence


def test_hostile_text_is_only_a_mistake(quickstart: Form) -> None:
    for text in (
        "\x1b[31m",
        "{",
        "[",
        "!!python/object:x",
        "*a",
        "a: b: c",
        "'",
        '"',
        "\n- x",
        "=",
        "a=b=c",
        "x" * 10_000,
    ):
        for field in quickstart.texts:
            draft = new_form.draft(quickstart.with_text(field, text))
            assert all("\x1b" not in sentence for _, sentence in draft.problems)


def test_numbers_may_have_their_commas(quickstart: Form) -> None:
    experiment = new_form.draft(quickstart.with_text("validation", "2,000")).experiment
    assert experiment is not None
    assert experiment.data.validation == 2000


def test_a_length_may_be_in_steps(quickstart: Form) -> None:
    experiment = new_form.draft(quickstart.with_text("epochs", "1,000 steps")).experiment
    assert experiment is not None
    assert experiment.train.steps == 1000
    again = new_form.from_experiment(experiment, new_form.read_catalogue(), source="")
    assert again.texts["epochs"] == "1000 steps"
    shorter = new_form.draft(again.with_text("epochs", "3")).experiment
    assert shorter is not None
    assert (shorter.train.steps, shorter.train.epochs) == (None, 3)


def test_seeds_make_runs_that_differ_in_seed_and_name_alone(quickstart: Form) -> None:
    made = new_form.experiments_of(quickstart.with_text("seeds", "3, 5-6"))
    assert [one.train.seed for one in made] == [3, 5, 6]
    assert [one.name for one in made] == ["quickstart-s3", "quickstart-s5", "quickstart-s6"]
    assert len({one.group_hash for one in made}) == 1
    with pytest.raises(UserError, match="would have one name"):
        new_form.experiments_of(quickstart.with_text("seeds", "1 2").with_text("name", "same"))


def test_the_name_follows_until_it_is_typed(quickstart: Form, catalogue: Catalogue) -> None:
    other = quickstart.with_choice(choice(catalogue, "architecture", "resnet20"))
    assert other.texts["name"] == "resnet20-quick-s{seed}"
    typed = other.with_text("name", "mine-s{seed}").with_choice(choice(catalogue, "architecture", "vgg_a"))
    assert typed.texts["name"] == "mine-s{seed}"
    assert typed.with_text("name", "").with_text("epochs", "3").texts["name"] == "vgg_a-quick-s{seed}"


def test_a_run_begins_a_form_with_its_name_for_other_seeds(catalogue: Catalogue) -> None:
    config = new_form.experiments_of(new_form.begin("best_5m", catalogue).with_text("seeds", "7"))[0].to_yaml()
    form = new_form.begin_from_run(config, "config.yaml", catalogue)
    assert form.texts["name"] == "best_5m-s{seed}"
    assert form.texts["seeds"] == "7"
    assert form.chosen["architecture"].name == "resnet_5m"
    assert not form.chosen["architecture"].changed


def test_a_published_figure_stays_with_its_ingredients_alone(catalogue: Catalogue) -> None:
    form = new_form.begin("best_5m", catalogue)
    kept = new_form.draft(form.with_text("seeds", "4")).experiment
    other = new_form.draft(form.with_choice(choice(catalogue, "optimizer", "sgd_cosine"))).experiment
    assert kept is not None
    assert kept.published is not None
    assert other is not None
    assert other.published is None


def test_a_preset_is_saved_as_a_person_would_write_it(
    quickstart: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").mkdir()
    experiment = new_form.draft(quickstart.with_text("epochs", "3")).experiment
    assert experiment is not None
    path = new_form.save_preset(experiment, "short")
    text = path.read_text()
    assert "architecture: tiny" in text
    assert "use: quick" in text
    assert "eval_batch_size" not in text
    again = new_form.draft(new_form.begin("short", new_form.read_catalogue())).experiment
    assert again is not None
    assert again.config_hash == experiment.config_hash
    with pytest.raises(UserError, match="there already"):
        new_form.save_preset(experiment, "short")
    new_form.save_preset(experiment, "short", replace_it=True)
    with pytest.raises(UserError, match="letters"):
        new_form.save_preset(experiment, "../outside")


def test_presets_go_to_ones_own_folder_where_there_is_none_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_form.preset_folder() == presets.user_folder()


def test_a_broken_preset_is_a_choice_with_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "presets" / "architecture"
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text("a: [")
    catalogue = new_form.read_catalogue()
    form = new_form.begin("quickstart", catalogue).with_choice(choice(catalogue, "architecture", "broken"))
    assert problem(form)[0] == "architecture"


def test_an_epoch_is_estimated_by_the_nearest_past_runs(quickstart: Form) -> None:
    experiment = new_form.draft(quickstart).experiment
    assert experiment is not None
    alike = past()
    same = past(group_hash=experiment.group_hash, active_s=100.0)
    other = past(architecture="vgg_a", macs=2 * 7_520_576)
    elsewhere = past(device="cuda:0 NVIDIA H200")

    def guess(*runs: RunView) -> new_facts.Estimate | None:
        return new_facts.estimate(experiment, COUNTS, runs, "CPU")

    assert guess() is None
    assert guess(elsewhere) is None
    assert guess(past(epoch=0.2)) is None
    assert guess(alike) == new_facts.Estimate(pytest.approx(5.0), 1, "CPU", exact=True)  # type: ignore[arg-type]
    found = guess(alike, alike, same)
    assert found is not None
    assert found.epoch_s == pytest.approx(10.0)
    assert found.runs == 1
    scaled = guess(other)
    assert scaled is not None
    assert not scaled.exact
    assert scaled.epoch_s == pytest.approx(2.5)
    larger = past(architecture="vgg_b", macs=16 * 7_520_576, active_s=1.0)
    assert guess(other, larger) == scaled, "the nearest tells more than one of another size"
    assert guess(larger) is not None
    assert guess(past(architecture="vgg_c", macs=40 * 7_520_576)) is None, "one of quite another size tells nothing"


def test_facts_are_pending_until_they_are_counted(quickstart: Form) -> None:
    experiment = new_form.draft(quickstart).experiment
    pending = new_facts.facts(experiment, None, None, None, 1)
    assert [fact.value for fact in pending[:4]] == ["…"] * 4
    known = {fact.label: fact for fact in new_facts.facts(experiment, COUNTS, COUNTS.activation_bytes, None, 3)}
    assert known["parameters"].value == "7,674"
    assert known["FLOPs"].value == "15,041,152"
    assert known["activations"].value == "100 MiB"
    assert known["3 runs × 14"].value == "–"
    refused = new_facts.facts(experiment, None, None, None, 1, refused="images too small")
    assert refused[0].remark == "images too small"


def test_facts_tell_the_time(quickstart: Form) -> None:
    experiment = new_form.draft(quickstart).experiment
    guess = new_facts.Estimate(2.0, 12, "H100", exact=True)
    shown = {fact.label: fact for fact in new_facts.facts(experiment, COUNTS, 1, guess, 3)}
    assert (shown["epoch"].value, shown["epoch"].remark) == ("2.0 s", "median of 12 runs on H100")
    assert shown["3 runs × 14"].value == "≈ 1 m 24 s"


def test_the_budget_says_what_is_left_or_over() -> None:
    left, over = new_facts.budget(4_779_530, 5_000_000), new_facts.budget(6_176_768, 5_000_000)
    assert (left.percent, left.remark, left.over) == ("95.6 %", "220,470 left", False)
    assert (over.remark, over.over) == ("+1,176,768 over", True)
    assert new_facts.budget(None, 5_000_000).percent == "…"


def test_layers_are_summed_by_part() -> None:
    groups = new_facts.layer_groups(COUNTS, 6)
    assert [(group.name, group.parameters) for group in groups] == [("stem", 432), ("stage1", 6912), ("head", 330)]
    assert "×2" in groups[1].detail
    fewer = new_facts.layer_groups(COUNTS, 2)
    assert [group.name for group in fewer] == ["stem", "2 more"]
    assert sum(group.parameters for group in fewer) == COUNTS.parameters


@pytest.mark.parametrize(
    ("optimizer", "part"),
    [
        ("sgd_cosine", "peak 0.10 after epoch 5, 0 at 200"),
        ("sgd_1e-2", "0.01 throughout"),
        ("sgd_plateau", "0.10 until a metric rests"),
        ("sgd_multistep_epochs", "peak 0.10, "),
    ],
)
def test_the_schedule_is_told_in_words(catalogue: Catalogue, optimizer: str, part: str) -> None:
    form = new_form.begin("best_5m_sgd", catalogue).with_choice(choice(catalogue, "optimizer", optimizer))
    experiment = new_form.draft(form).experiment
    assert part in new_facts.schedule_remark(experiment)
    plot = new_facts.schedule_plot(experiment, theme.palette())
    assert plot.x_range == (0.0, 200.0)
    assert max(plot.curves[0].ys) == pytest.approx(0.1 if "1e-2" not in optimizer else 0.01)


def test_every_optimizer_of_the_catalogue_has_a_plot(catalogue: Catalogue) -> None:
    form = new_form.begin("best_5m", catalogue)
    for one in catalogue.choices["optimizer"]:
        experiment = new_form.draft(form.with_choice(one)).experiment
        if experiment is not None:
            assert new_facts.schedule_remark(experiment)


def test_presets_of_all_lists_can_be_chosen(quickstart: Form, catalogue: Catalogue) -> None:
    for kind in ("architecture", "augmentation"):
        for one in catalogue.choices[kind]:
            draft = new_form.draft(quickstart.with_choice(one))
            assert draft.valid or kind == "architecture", (one.name, draft.problems)


def test_the_summary_names_what_one_looks_for_first(quickstart: Form) -> None:
    rows = {key: value for _, key, value in new_facts.summary(new_form.draft(quickstart).experiment)}
    assert rows["architecture"] == "tiny"
    assert rows["lr"] == "0.04"
    assert rows["epochs"] == "14"


@pytest.mark.parametrize(
    ("size", "device", "said"),
    [
        ("129", "H200", "batch_size: 129 is fine, 128 is faster here"),
        ("3", "H200", "batch_size: 3 is fine, 8 is faster here"),
        ("128", "H200", ""),
        ("129", "CPU", ""),
    ],
)
def test_a_gpu_is_said_to_like_multiples_of_eight(quickstart: Form, size: str, device: str, said: str) -> None:
    experiment = new_form.draft(quickstart.with_text("batch_size", size)).experiment
    assert new_facts.batch_advice(experiment, device) == said
