"""Text from files on every screen, in every overlay and through every command: shown as it is written, or cleaned."""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.pilot import Pilot

from benchmarks.torture.hostile import MARKUP, PAYLOADS
from engine import atomic, queue, runs, sweep
from engine.campaign import Campaign
from engine.errors import UserError
from engine.runs import RunFolder, SummaryWriter
from engine.text import clean
from tui import cli, keys
from tui.app import CifarApp
from tui.chrome import HeaderLine
from tui.commands import sweep as sweep_command
from tui.dialogs import Reader
from tui.grid import Grid
from tui.grid_view import GridView
from watching import on_screen, until

MakeRun = Callable[..., RunFolder]

CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
ESCAPES = iter(f"<{payload}>" for payload in PAYLOADS.values())
TEXTS = {"markup": " ".join(MARKUP), "sequences": " ".join(islice(ESCAPES, 8)), "characters": " ".join(ESCAPES)}
SIZE = (900, 60)


def preset(text: str) -> str:
    """An experiment with this text wherever a text may stand."""
    quoted = json.dumps(writable(text))
    return f"""
name: {quoted}
tags: [{quoted}]
notes: {quoted}
architecture:
  name: {quoted}
  family: vgg
  channels: [8]
  convolutions: [1]
  batch_norm: true
  global_pool: true
  head: []
augmentation: {{name: {quoted}, ops: [{{op: normalize, statistics: half}}]}}
optimizer: {{name: {quoted}, algorithm: sgd, lr: 0.1}}
data: {{name: shapes}}
train: {{epochs: 3, batch_size: 100, device: cpu}}
published: {{source: {quoted}, note: {quoted}, test_accuracy: 90.0}}
"""


def writable(text: str) -> str:
    """With what stands for a lone surrogate where there cannot be one."""
    return text.replace("\udc80", "\N{REPLACEMENT CHARACTER}")


@dataclass(frozen=True)
class Hostile:
    """A folder where one text is everywhere, and the runs that it is in."""

    text: str
    shown: str
    root: Path
    failed: RunFolder
    running: RunFolder
    queued: RunFolder
    swept: RunFolder


ESCAPES_TOO = [name if name == "markup" else pytest.param(name, marks=pytest.mark.slow) for name in TEXTS]


@pytest.fixture
def hostile(
    request: pytest.FixtureRequest, tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> Hostile:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(queue, "ensure_runner", lambda root: False)
    text = TEXTS[request.param]
    config = preset(text)
    words = dict.fromkeys(
        ("architecture", "augmentation", "optimizer", "dataset", "device", "precision", "phase", "by", "problem"), text
    )
    facts: dict[str, Any] = {**words, "published": {"test_accuracy": 90.0, "source": text}, "reason": text}
    figures = {"last": {text: 1.0}, "best": {"metric": "val_accuracy", "value": 50.0, "epoch": 2}, "epoch": 2.0}
    made = {
        state: make_run("x", state, 1, records(text), config, **facts, **figures)
        for state in ("failed", "running", "queued")
    }
    queued = made["queued"]
    for run in made.values():
        dress(run, text)
    atomic.write_text(queued.path / "config.yaml", config.replace("device: cpu", f"device: {json.dumps(text[:200])}"))
    SummaryWriter(queued.path / "summary.json").write({**queued.summary(), **words, "state": "queued"})
    return Hostile(text, clean(text), tmp_path / "runs", **made, swept=swept(tmp_path, text))


def records(text: str) -> list[dict[str, Any]]:
    """Steps and epochs with a measurement of that name."""
    steps = [{"kind": "step", "step": n, "epoch": n / 10, "loss": 1 / n, text: 1.0} for n in range(1, 21)]
    epochs = [{"kind": "epoch", "epoch": n, "step": 10 * n, "val_accuracy": 40.0 + n, text: text} for n in (1, 2)]
    return [*steps, *epochs]


def dress(run: RunFolder, text: str) -> None:
    """What a run holds besides: words of a person, its log, its layers, its test."""
    atomic.write_json(run.path / "user.json", {"name": text, "tags": [text], "note": text})
    (run.path / "log.txt").write_bytes(f"{text}\nTraceback: {text}\n".encode("utf-8", "surrogateescape"))
    layer = {"name": text, "kind": text, "detail": text, "shape": [8, 4, 4], "parameters": 9, "macs": 9}
    atomic.write_json(run.path / "model.json", {"parameters": 9, "macs": 9, "layers": [layer]})
    account = {"epoch": 2, "accuracy": 50.0, "loss": 1.0, "per_class": [50.0, 50.0], "confusion": [[5, 5], [5, 5]]}
    (run.path / "results" / "test").mkdir(parents=True)
    result = {"classes": [text, f"{text}!"], "checkpoints": {"best": account}}
    atomic.write_json(run.path / "results" / "test" / "result.json", result)


def swept(folder: Path, text: str) -> RunFolder:
    """A run that waits for its turn in a sweep of that text, beside presets of it."""
    quoted, named = (
        json.dumps(text.replace("\udc80", "\N{REPLACEMENT CHARACTER}")),
        json.dumps(text.replace("\udc80", "\N{REPLACEMENT CHARACTER}")[:100]),
    )
    (folder / "presets" / "sweeps").mkdir(parents=True)
    (folder / "presets" / "quickstart.yaml").write_text(preset(text))
    for kind, source in (("architecture", "family: [\n"), ("optimizer", "algorithm: sgd\n")):
        (folder / "presets" / kind).mkdir()
        (folder / "presets" / kind / f"{file_name(text)}.yaml").write_text(source)
    (folder / "presets" / "sweeps" / "trial.yaml").write_text(
        f"about: {quoted}\nnotes: {quoted}\nbase: quickstart\nrows:\n  - {{name: {named}, notes: {quoted}}}\n"
    )
    found = sweep.load("trial")
    whole = Campaign(runs.prepare_root(folder / "runs"), found, sweep.members(found), frozenset({0}))
    whole.look()
    whole.enlist(text)
    assert whole.runs[0] is not None
    return RunFolder(whole.runs[0].path)


def file_name(text: str) -> str:
    return text.replace("/", "∕").replace("\0", "").encode("utf-8", "ignore").decode()[:60]


Place = Callable[[Pilot[Any], CifarApp, Hostile], Awaitable[object]]


def inside(app: CifarApp) -> str:
    """What is drawn on the screen or overlay on top, without the header, which names the run everywhere."""
    views = app.screen.query(GridView).exclude("HeaderLine")
    return "\n".join(view._grid.text() for view in views if view.display)


async def opened(pilot: Pilot[Any], app: CifarApp, here: Hostile, *keys: str) -> None:
    """The run that failed, and then keys."""
    app.open_run(here.failed.id)
    await until(pilot, lambda: here.shown in inside(app))
    await pilot.press(*keys)


async def listed(pilot: Pilot[Any], app: CifarApp, *keys: str) -> None:
    await until(pilot, lambda: "4 runs" in on_screen(pilot))
    await pilot.press(*keys)


async def chosen(pilot: Pilot[Any], app: CifarApp, *keys: str) -> None:
    app.goto("new")
    await until(pilot, lambda: "valid" in inside(app))
    await pilot.press(*keys)


async def read(pilot: Pilot[Any], app: CifarApp, here: Hostile) -> None:
    """YAML, which spells escape characters out."""
    await opened(pilot, app, here, "y")
    await until(pilot, lambda: isinstance(app.screen, Reader))


async def said(pilot: Pilot[Any], app: CifarApp, here: Hostile) -> None:
    await listed(pilot, app)
    app.say(here.text, "bad")


async def done(*_: object) -> None:
    """What is to be seen has been asked for."""


# Where text from a file stands: how one gets there, and which part of it there is room for.
WHOLE, BEGINNING, INITIALS, END = slice(None), slice(8), slice(3), slice(-8, None)
PLACES: dict[str, tuple[Place, slice]] = {
    "the header": (lambda pilot, app, here: opened(pilot, app, here), WHOLE),
    "the table and the preview": (lambda pilot, app, here: listed(pilot, app), WHOLE),
    "a run that failed": (lambda pilot, app, here: opened(pilot, app, here), WHOLE),
    "a run in progress": (lambda pilot, app, here: done(app.open_run(here.running.id)), WHOLE),
    "layers": (lambda pilot, app, here: opened(pilot, app, here, "b"), BEGINNING),
    "yaml": (read, WHOLE),
    "name, tags, note": (lambda pilot, app, here: opened(pilot, app, here, "e"), END),
    "a question": (lambda pilot, app, here: opened(pilot, app, here, "D"), BEGINNING),
    "ways to write": (lambda pilot, app, here: opened(pilot, app, here, "w"), WHOLE),
    "where to write": (lambda pilot, app, here: opened(pilot, app, here, "w", "enter"), BEGINNING),
    "the log": (lambda pilot, app, here: done(app.open_log(here.failed.id)), END),
    "results": (lambda pilot, app, here: done(app.open_results(here.failed.id)), INITIALS),
    "compare": (lambda pilot, app, here: done(app.open_compare([here.failed.id, here.running.id])), WHOLE),
    "the queue": (lambda pilot, app, here: done(app.goto("queue")), BEGINNING),
    "a sweep": (lambda pilot, app, here: done(app.open_sweep(here.swept.id)), WHOLE),
    "tables of sweeps": (lambda pilot, app, here: listed(pilot, app, "G", "t", *"trial"), WHOLE),
    "a new run": (lambda pilot, app, here: chosen(pilot, app), WHOLE),
    "presets": (lambda pilot, app, here: chosen(pilot, app, "g"), BEGINNING),
    "a new run from another": (lambda pilot, app, here: done(app.new_from(here.failed.id)), INITIALS),
    "experiments": (lambda pilot, app, here: chosen(pilot, app, "o", *"quickstart"), WHOLE),
    "the message line": (said, WHOLE),
}


@pytest.mark.slow
@pytest.mark.parametrize("hostile", ESCAPES_TOO, indirect=True)
@pytest.mark.parametrize("place", PLACES)
async def test_on_every_screen_it_is_text(hostile: Hostile, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    acted: list[str] = []
    for action in ("quit", "bell"):
        monkeypatch.setattr(CifarApp, f"action_{action}", lambda _, action=action: acted.append(action))
    app = CifarApp(hostile.root)
    async with app.run_test(size=SIZE) as pilot:
        go, room = PLACES[place]
        await go(pilot, app, hostile)
        if place == "the header":
            assert hostile.shown in app.screen.query_one(HeaderLine)._grid.text()
        elif place != "yaml":
            await until(pilot, lambda: hostile.shown[room] in inside(app), place)
        nothing_acts(pilot)
        await click_on_links(pilot)
        assert not acted
        assert app.is_running


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_paths_are_text(tmp_path: Path, text: str, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs folder in the header, the file of keys in the help."""
    text = text.replace("/", "_").replace("\0", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", f"/{text}")
    make_run()
    root = tmp_path / f"{text}!"
    (tmp_path / "runs").rename(root)
    app = CifarApp(root)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: clean(f"{text}!") in on_screen(pilot))
        nothing_acts(pilot)
        await pilot.press("?")
        await until(pilot, lambda: clean(f"Change a key in /{text}")[:60] in inside(app))
        nothing_acts(pilot)


def test_a_mistake_in_the_file_of_keys_is_said_in_text(tmp_path: Path) -> None:
    for number, text in enumerate((*MARKUP, *PAYLOADS.values())):
        path = tmp_path / f"keys{number}.yaml"
        path.write_text(f"{json.dumps(writable(text))}: x\n")
        with pytest.raises(UserError) as mistake:
            keys.load(path)
        assert clean(writable(text)) in clean(str(mistake.value))


def nothing_acts(pilot: Pilot[Any]) -> None:
    """Nothing that a terminal or Textual would act on is on the screen."""
    for segment in (segment for strip in pilot.app.screen._compositor.render_strips() for segment in strip):
        assert not CONTROL.search(segment.text), repr(segment.text)
        assert segment.style is None or not (segment.style.link or "@click" in segment.style.meta)


async def click_on_links(pilot: Pilot[Any]) -> None:
    """A click on what would be a link if it were markup."""
    for row, line in enumerate(on_screen(pilot).split("\n")):
        if (column := line.find("click[/]")) >= 0:
            await pilot.click(offset=(cell_len(line[:column]), row))
            return


@pytest.mark.mutant
async def test_mutant_where_cells_are_read_as_markup_a_name_is_a_link(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, segments = "[link=x]y[/]", Grid.segments

    def interpreted(grid: Grid, row: int) -> list[Segment]:
        text = "".join(character for character, _ in grid.cells[row])
        return list(Text.from_markup(text, end="").render(Console())) if name in text else segments(grid, row)

    monkeypatch.setattr(Grid, "segments", interpreted)
    make_run(name)
    async with CifarApp(tmp_path / "runs").run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: "1 run " in on_screen(pilot))
        assert name not in on_screen(pilot)
        with pytest.raises(AssertionError):
            nothing_acts(pilot)


@pytest.mark.mutant
async def test_mutant_with_text_left_as_it_is_an_escape_is_on_the_screen(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("\x1b]0;owned\x07")
    for cleaner in ("engine.text.clean", "tui.grid.clean"):
        monkeypatch.setattr(cleaner, lambda text, newlines=False: text)
    async with CifarApp(tmp_path / "runs").run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: "1 run " in on_screen(pilot) and "owned" in on_screen(pilot))
        with pytest.raises(AssertionError, match="x1b"):
            nothing_acts(pilot)


def test_a_cell_takes_no_control_character_wherever_the_text_comes_from() -> None:
    for text in TEXTS.values():
        grid = Grid(300, 1)
        grid.write(0, 0, text, Style.null())
        assert grid.text() == clean(text)


# Which part of the text each command prints as it is; those that quote it in a form of their own print no part.
NOTHING = slice(0)
COMMANDS = {
    "--list": BEGINNING,
    "--list --json": NOTHING,
    "--show FAILED": WHOLE,
    "--watch FAILED": WHOLE,
    "--compare FAILED QUEUED": BEGINNING,
    "--queue": BEGINNING,
    "--queue --json": NOTHING,
    "--list-presets": BEGINNING,
    "--export FAILED": WHOLE,
    "--export FAILED --format md": NOTHING,
    "--export FAILED --format json": NOTHING,
    "--delete FAILED": WHOLE,
}


@pytest.mark.parametrize("hostile", TEXTS, indirect=True)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_printed_is_text(hostile: Hostile, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = command.replace("FAILED", hostile.failed.id).replace("QUEUED", hostile.queued.id)
    cli.main([*named.split(), "--runs", str(hostile.root)])
    printed = "".join(capsys.readouterr())
    assert "Traceback (most recent" not in printed
    assert not CONTROL.search(printed), repr(printed)
    assert hostile.shown[COMMANDS[command]] in printed
    assert printed


@pytest.mark.parametrize("hostile", TEXTS, indirect=True)
def test_the_table_of_a_sweep_is_text(hostile: Hostile, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed when all its rows are over, which nothing here trains."""
    found = sweep.load("trial")
    whole = Campaign(hostile.root, found, sweep.members(found), frozenset({0}))
    whole.look()
    sweep_command._report(whole, {}, as_json=False)
    printed = capsys.readouterr().out
    assert not CONTROL.search(printed), repr(printed)
    assert hostile.shown[BEGINNING] in printed


@pytest.mark.slow
@pytest.mark.parametrize("hostile", TEXTS, indirect=True)
def test_an_inspected_preset_is_text(hostile: Hostile, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--inspect", "quickstart"]) == 0
    printed = capsys.readouterr().out
    assert not CONTROL.search(printed), repr(printed)
    assert hostile.shown in printed
