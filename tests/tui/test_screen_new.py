import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine import experiment as experiments
from engine import launch, presets, queue, runs, system
from engine.counts_cache import Counts, LayerCount
from engine.errors import UserError
from tui import glyphs, new_launch, new_layout, new_view, services
from tui.app import CifarApp
from tui.chrome import Device, MessageLine
from tui.dialogs import Overlay, Reader
from tui.engine_client import Answer
from tui.new_launch import Launched
from tui.screens.new import NewScreen
from tui.screens.new_panes import SamplesOverlay

SIZES = [(80, 24), (120, 36), (200, 50)]
LAYERS = (
    LayerCount("stem", "Conv2d", "3x3", (16, 32, 32), 432, 442_368),
    LayerCount("head", "Linear", "", (10,), 330, 320),
)


class FakeEngine:
    """Answers at once with invented figures, or (`silent`) never; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.silent = False
        self.error = ""

    def ask(self, question: Mapping[str, Any], answered: Callable[[Answer], object], topic: str = "") -> None:
        self.asked.append({**question, "topic": topic})
        if not self.silent:
            answered(Answer(error=self.error) if self.error else Answer(self._value(question)))

    def _value(self, question: Mapping[str, Any]) -> dict[str, Any]:
        if question["ask"] == "count":
            channels = question["architecture"].get("channels") or [1]
            size = 1_000_000 + 1000 * sum(channels)
            return Counts(size, size, 50 * size, 1 << 20, LAYERS, 3, 32, 10, 1, "fp32").to_json()
        pictures = [bytes([40 * index, 90, 160]) * (32 * 32) for index in range(question["draws"] + 1)]
        encoded = [base64.b64encode(one).decode() for one in pictures]
        return {"source": question["data"]["name"], "index": 0, "label": "ship", "size": 32, "pictures": encoded}

    def forget(self, topic: str) -> None:
        pass

    def close(self) -> None:
        pass

    def last(self, ask: str) -> dict[str, Any]:
        return [question for question in self.asked if question["ask"] == ask][-1]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def app(tmp_path: Path, empty_home: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> CifarApp:
    monkeypatch.setattr("tui.screens.base.socket.gethostname", lambda: "lab-gpu2")
    monkeypatch.setattr(services.Machine, "poll", lambda self: False)
    for module in ("new_facts", "new_figures"):
        monkeypatch.setattr(f"tui.{module}.expected", lambda wanted, device: "fp32" if wanted == "auto" else wanted)
    monkeypatch.chdir(tmp_path)
    root = empty_home / "cifar" / "runs"
    root.mkdir(mode=0o700, parents=True)
    made = CifarApp(root)
    made.services.engine = engine  # type: ignore[assignment]
    made.services.machine.device = Device("CPU", None, 10.0, 2 << 30, 8 << 30)
    return made


async def open_new(pilot: Pilot[int], run_id: str | None = None) -> NewScreen:
    app = pilot.app
    assert isinstance(app, CifarApp)
    app.new_from(run_id)
    await until(pilot, lambda: isinstance(app.screen, NewScreen) and app.screen._form is not None)
    await pilot.pause()
    assert isinstance(app.screen, NewScreen)
    return app.screen


async def until(pilot: Pilot[int], condition: Callable[[], object]) -> None:
    for _ in range(2000):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError("never")


def text(screen: NewScreen) -> str:
    width, height = screen.app.size
    return new_view.draw(screen.shown(), width, height - 2, screen.size_class, screen.palette).text()


def texts(screen: NewScreen) -> Mapping[str, str]:
    assert screen._form is not None
    return screen._form.texts


@pytest.mark.parametrize("size", SIZES)
async def test_it_opens_on_quickstart_with_its_figures(app: CifarApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        screen = await open_new(pilot)
        seen = text(screen)
        assert "Architecture" in seen
        assert "› tiny" in seen
        assert "1,112,000" in seen
        assert "Learning rate" in seen
        assert "valid" in seen


async def test_a_narrow_list_tells_a_changed_choice_from_the_preset_of_its_name(app: CifarApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_new(pilot)
        assert "› quick with lr 0.04" in text(screen)


@pytest.mark.parametrize("size", [(60, 15), (100, 30), (159, 39), (160, 40), (300, 100), (61, 60), (240, 16)])
async def test_every_size_can_be_drawn(app: CifarApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        screen = await open_new(pilot)
        for _ in range(6):
            await pilot.press("tab")
            assert "Optimiser" in text(screen)


async def test_figures_not_yet_known_are_an_ellipsis(app: CifarApp, engine: FakeEngine) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        assert "1,112,000" in text(screen)
        engine.silent = True
        await pilot.press("j")
        seen = text(screen)
        assert "1,112,000" not in seen
        row = next(line for line in seen.splitlines() if "│ parameters" in line)
        assert row.endswith("…")


async def test_a_network_that_cannot_be_counted_says_why(app: CifarApp, engine: FakeEngine) -> None:
    engine.error = "the helper process cannot answer: it was killed by signal 9"
    async with app.run_test(size=(200, 50)) as pilot:
        screen = await open_new(pilot)
        assert "killed by signal 9" in text(screen)


async def test_the_right_side_follows_the_highlight(app: CifarApp, engine: FakeEngine) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        await pilot.press("tab", "g")
        assert screen._form is not None
        first = screen._form.chosen["augmentation"]
        assert screen._experiment is not None
        shown = screen._experiment.augmentation.model_dump(mode="json")["ops"]
        assert engine.last("preview")["augmentation"]["ops"] == shown
        await pilot.press("G", "ctrl+u", "k")
        assert screen._form.chosen["augmentation"] != first
        assert screen._form.chosen["augmentation"].name in text(screen)


async def test_space_draws_again_and_i_shows_another_image(app: CifarApp, engine: FakeEngine) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_new(pilot)
        await pilot.press("space")
        assert (engine.last("preview")["seed"], engine.last("preview")["image"]) == (1, 0)
        await pilot.press("i")
        assert (engine.last("preview")["seed"], engine.last("preview")["image"]) == (1, 1)


async def test_a_narrow_screen_shows_samples_over_itself(app: CifarApp, engine: FakeEngine) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await open_new(pilot)
        await pilot.press("space")
        assert isinstance(app.screen, SamplesOverlay)
        await pilot.press("space", "i")
        assert engine.last("preview")["image"] == 1
        await pilot.press("escape")
        assert isinstance(app.screen, NewScreen)


async def test_a_field_is_checked_as_one_types(app: CifarApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        await pilot.press("e", "down", "ctrl+u", "0")
        assert "epochs: found 0; allowed is more than 0" in text(screen)
        assert "1,112,000" in text(screen)
        await pilot.press("backspace", "3", "enter")
        assert texts(screen)["epochs"] == "3"
        assert "found" not in text(screen)
        await pilot.press("e", "9", "escape")
        assert texts(screen)["epochs"] == "3"


async def test_keys_typed_into_a_field_are_text(app: CifarApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        await pilot.press("e", "G", "q", "1", "?", "space", "enter")
        assert texts(screen)["data"] == "shapesGq1? "


async def test_keys_typed_before_the_presets_are_read_are_not_lost(app: CifarApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        app.new_from(None)
        await pilot.press(*"/resnet_5m", "enter", "e", "down", "ctrl+u", "7", "enter")
        screen = app.screen
        assert isinstance(screen, NewScreen)
        await until(
            pilot, lambda: screen._form is not None and screen._editing is None and texts(screen)["epochs"] == "7"
        )
        assert screen._form is not None
        assert screen._form.chosen["architecture"].name == "resnet_5m"


async def test_a_search_narrows_the_list_and_esc_takes_it_back(app: CifarApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        await pilot.press(*"/wide", "space", *"wrn28")
        shown = screen.shown().lists["architecture"]
        assert shown.choices
        assert all("wide" in one.about.lower() and "wrn28" in one.name for one in shown.choices)
        await pilot.press("down")
        await pilot.press("escape")
        assert screen._form is not None
        assert screen._form.chosen["architecture"].name == "tiny"
        await pilot.press(*"/zzz")
        assert "no preset matches" in text(screen)
        await pilot.press("enter")
        assert len(screen.shown().lists["architecture"].choices) > 40


async def test_an_experiment_prefills_everything(app: CifarApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        await pilot.press("o")
        await pilot.press("j", "enter")
        assert screen._form is not None
        assert screen._form.source != "quickstart"
        assert texts(screen)["name"].startswith(screen._form.source)


async def test_the_wide_list_of_experiments_prefills_as_one_moves(app: CifarApp) -> None:
    async with app.run_test(size=(200, 50)) as pilot:
        screen = await open_new(pilot)
        await pilot.press("[", "j")
        assert screen._form is not None
        assert screen._focus == "experiments"
        assert screen._form.source == screen.shown().experiments[1][0]


async def test_it_begins_from_a_run(app: CifarApp, make_run: Callable[..., runs.RunFolder]) -> None:
    config = experiments.load("best_5m", [("train.epochs", "17"), ("name", "best_5m-s6953")]).to_yaml()
    run = make_run(config=config)
    app.services.runs.root = run.path.parent
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot, run.id)
        assert texts(screen)["epochs"] == "17"
        assert texts(screen)["name"] == "best_5m-s{seed}"


async def test_a_run_that_cannot_be_read_is_said_and_quickstart_stands_in(app: CifarApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot, "20260101-000000-abcdef")
        assert texts(screen)["data"] == "shapes"
        assert "cannot be begun anew" in str(screen.query_one(MessageLine)._message)


async def test_the_budget_can_be_set_and_is_remembered(app: CifarApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        await pilot.press("p", "ctrl+u", *"1 M")
        await pilot.press("enter")
        assert "+112,000 over" in text(screen)
        assert app.settings.text("parameter_budget", "") == "1000000"


async def test_the_yaml_in_full(app: CifarApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_new(pilot)
        await pilot.press("y")
        assert isinstance(app.screen, Reader)


@pytest.mark.parametrize("size", SIZES)
async def test_others_on_the_gpu_are_shown_before_a_launch_and_prevent_nothing(
    app: CifarApp, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = system.Gpu("GPU-aa", 0, "H100", memory_used=30 << 30, memory_total=80 << 30)
    monkeypatch.setattr(system, "gpus", lambda: (gpu,))
    monkeypatch.setattr(system, "gpu_processes", lambda uuid: (system.GpuProcess(4242, 20 << 30, "ann"),))
    launched: list[str] = []
    monkeypatch.setattr(launch, "start", lambda run, **_: launched.append(run.id))
    async with app.run_test(size=size) as pilot:
        screen = await open_new(pilot)
        await until(pilot, lambda: "! GPU 0 in use: pid 4242 20.0 GiB" in text(screen))
        assert screen._watch is not None
        screen._watch.use("cpu")
        await until(pilot, lambda: "in use" not in text(screen))
        await pilot.press("enter")
        await until(pilot, lambda: launched)


@pytest.mark.parametrize("keys", ["a", "enter"])
async def test_several_seeds_go_to_the_queue(app: CifarApp, monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    added: list[str] = []
    monkeypatch.setattr(queue, "add", lambda run, held=False, by="": added.append(run.view().name))
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        assert screen._form is not None
        screen.use_form(screen._form.with_text("seeds", "1-3"))
        assert screen.footer_words()["launch"] == "launch 3"
        await pilot.press(keys)
        await until(pilot, lambda: len(added) == 3 and not screen._launching)
        assert added == ["quickstart-s1", "quickstart-s2", "quickstart-s3"]
        assert {run.seed for run in runs.list_runs(app.root)} == {1, 2, 3}


async def test_one_run_starts_at_once_and_is_shown(app: CifarApp, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(
        new_launch, "make_runs", lambda *args, wait: Launched(("20260101-000000-abcdef",), started=not wait)
    )
    monkeypatch.setattr(app, "open_run", opened.append)
    async with app.run_test(size=(120, 36)) as pilot:
        await open_new(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: opened)
        assert not isinstance(app.screen, NewScreen)


async def test_a_form_with_a_mistake_is_not_launched(app: CifarApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        assert screen._form is not None
        screen.use_form(screen._form.with_text("epochs", "0"))
        await pilot.press("enter")
        assert "epochs: found 0" in str(screen.query_one(MessageLine)._message)
        assert not runs.list_runs(app.root)


async def test_what_prevents_a_launch_is_said(app: CifarApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, wait: bool) -> Launched:
        raise UserError("the disk is full")

    monkeypatch.setattr(new_launch, "make_runs", refuse)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "the disk is full" in str(screen.query_one(MessageLine)._message))
        assert not screen._launching


async def test_a_preset_is_saved_and_never_replaced_silently(app: CifarApp, tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    path = tmp_path / "presets" / "mine.yaml"
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        await pilot.press("w", *"mine", "enter")
        await until(pilot, path.exists)
        await until(pilot, lambda: "mine" in [name for name, _ in screen.shown().experiments])
        path.write_text("by hand")
        await pilot.press("w", *"mine", "enter")
        assert isinstance(app.screen, Overlay)
        await pilot.press("escape")
        assert path.read_text() == "by hand"
        await pilot.press("w", *"mine", "enter", "enter")
        await until(pilot, lambda: "tiny" in path.read_text())


async def test_the_mouse_chooses_and_edits(app: CifarApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await open_new(pilot)
        places = new_layout.areas(120, 34, "normal")
        area = places["optimizer"]
        wanted = screen.shown().lists["optimizer"]
        first = new_layout.first_row(wanted.cursor, len(wanted.choices), area.height - 1)
        await pilot.click(offset=(area.left + 4, 1 + area.top + 1))
        assert screen._form is not None
        assert screen._form.chosen["optimizer"] == wanted.choices[first]
        field = new_layout.field_places(places["training"], "normal")["batch_size"]
        for _ in range(2):
            await pilot.click(offset=(field.left + 13, 1 + field.top))
        assert screen._editing is not None
        assert screen._field == "batch_size"


@pytest.mark.parametrize("depth", ["256", "16", "none"])
async def test_few_colours_and_ascii_leave_out_pictures(tmp_path: Path, engine: FakeEngine, depth: Any) -> None:
    app = CifarApp(tmp_path, depth=depth)
    app.services.engine = engine  # type: ignore[assignment]
    glyphs.choose(utf8=False)
    try:
        async with app.run_test(size=(120, 36)) as pilot:
            screen = await open_new(pilot)
            assert "pictures need" in text(screen)
    finally:
        glyphs.choose(utf8=True)


def test_a_free_slot_is_not_taken_from_a_run_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "runs"
    root.mkdir(mode=0o700)
    assert new_launch.free_slot(root, "cpu") is not None
    assert new_launch.free_slot(root, "cuda:7") is None
    runs.create(root, "train: {device: cpu}\n", {"state": "queued"}, {})
    assert new_launch.free_slot(root, "cpu") is None


FEW = (
    *("quickstart", "best_5m", "architecture/tiny", "architecture/resnet20", "architecture/resnet_5m"),
    *("architecture/vgg_a", "architecture/wrn28_10", "augmentation/shapes_flip", "augmentation/rotate_crop_flip"),
    *("augmentation/none", "optimizer/quick", "optimizer/adamw_amsgrad", "optimizer/sgd_cosine"),
)


@pytest.fixture
def few_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only these, so that a new preset changes no picture."""
    installed = presets._INSTALLED
    for name in FEW:
        path = tmp_path / "installed" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((installed / f"{name}.yaml").read_text())
    monkeypatch.setattr(presets, "_INSTALLED", tmp_path / "installed")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shade", ["dark", "light"])
@pytest.mark.usefixtures("few_presets")
def test_snapshot(snap_compare: Any, app: CifarApp, size: tuple[int, int], shade: str) -> None:
    async def show(pilot: Pilot[int]) -> None:
        if shade == "light":
            app.toggle_theme()
        screen = await open_new(pilot)
        assert screen._form is not None
        screen.use_form(screen._form.with_text("seeds", "1-3"))
        await pilot.press("tab")
        await pilot.pause(0.3)

    assert snap_compare(app, terminal_size=size, run_before=show)
