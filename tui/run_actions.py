"""What a person does to runs, from the table as from a run's own screen: stop, pause, resume, archive, delete, edit,
write, copy. What waits for a disk or a process is done in a thread, and imported there: the table opens without it."""

import getpass
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, cast

from engine import atomic, runs
from engine.errors import UserError
from engine.runs import RunFolder, RunView
from tui import glyphs
from tui.dialogs import Choice, Field, Form, Option, Question, Reader
from tui.screens.base import BaseScreen, shown_path

FORMS = (
    Option("csv", "CSV", "metrics, a row a record"),
    Option("json", "JSON", "view, configuration and all records"),
    Option("md", "Markdown", "a report to read"),
    Option("png", "PNG", "the curves as a picture"),
    Option("svg", "SVG", "the curves as a drawing"),
)


# Of the forms those that the engine draws: kind of figure ("" for the usual one) and suffix of the file.
DRAWN: Mapping[str, tuple[str, str]] = MappingProxyType({"png": ("", "png"), "svg": ("", "svg")})


_TAKEN = "{} is there already; give another name"


@dataclass(frozen=True, slots=True)
class Undo:
    """How to take back the last thing done, and what that says."""

    text: str
    act: Callable[[], object]


def who() -> str:
    """The user, for the records of who asked for what."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def called(run: RunView) -> str:
    """A run's name, or its id where it has none."""
    return run.name or run.id


def plural(chosen: Sequence[RunView]) -> str:
    """`best_5m-s3`, or `3 runs`."""
    return called(chosen[0]) if len(chosen) == 1 else f"{len(chosen)} runs"


class RunActions(BaseScreen):
    """A screen with runs that can be acted on. Give `chosen`, and `here` where it differs.

    `forms` is what a run is written as; those in `drawn` are figures.
    """

    forms: ClassVar[tuple[Option, ...]] = FORMS
    drawn: ClassVar[Mapping[str, tuple[str, str]]] = DRAWN

    def chosen(self) -> list[RunView]:
        """The runs that an action is for."""
        raise NotImplementedError

    def here(self) -> RunView | None:
        """The one run under the cursor."""
        chosen = self.chosen()
        return chosen[0] if chosen else None

    def gone(self, deleted: Sequence[RunView]) -> None:
        """Called when runs were deleted from here."""

    # Steering.

    def action_stop(self) -> None:
        live = [run for run in self.chosen() if run.live]
        if not live:
            self._nothing("stop", "is over")
            return
        if all(run.state == "queued" for run in live):
            question = Question(f"Take {plural(live)} out of the queue?", "take out", "keep")
        else:
            sentence = f"Stop {plural(live)} after this step? Checkpoint is written."
            question = Question(sentence, "stop", "keep on")
        self.app.push_screen(question, lambda yes: self._stop(live) if yes else None)

    def _stop(self, live: Sequence[RunView]) -> None:
        self.in_thread(lambda: [_stop(run) for run in live], lambda said: self.say(_summed(said, live)))

    def action_pause(self) -> None:
        held = [run for run in self.chosen() if run.state in ("running", "paused")]
        if not held:
            self._nothing("pause", "is not running")
            return
        self.in_thread(lambda: [_pause(run) for run in held], lambda said: self.say(_summed(said, held)))

    def action_checkpoint(self) -> None:
        run = self.here()
        if run is None or run.state not in ("running", "paused"):
            self._nothing("save", "is not running")
            return
        asked = f"{called(run)} writes a checkpoint after this step"
        self.in_thread(lambda: _checkpoint(run), lambda _: self.say(asked))

    def action_new_from_this(self) -> None:
        run = self.here()
        self.app.new_from(run.id if run else None)

    def action_resume(self) -> None:
        run = self.here()
        if run is None or run.live:
            self._nothing("resume", "is not over")
            return
        self.say(f"{called(run)} resumes from its newest checkpoint{glyphs.active().ellipsis}")
        self.in_thread(
            lambda: _resume(run),
            lambda _: self.say(f"{called(run)} goes on", "good", glyphs.active().state("running")),
        )

    # Putting away.

    def action_archive(self) -> None:
        chosen = [run for run in self.chosen() if not run.live]
        if not chosen:
            self._nothing("archive", "is live")
            return
        away = not chosen[0].archived
        self._set_archived(chosen, away)
        taken = "archived" if away else "back from the archive"
        self.push_undo(f"{plural(chosen)} {taken} undone", lambda: self._set_archived(chosen, not away))
        self.say(f"{plural(chosen)} {taken}; {self._key('undo')} undoes it")

    def _set_archived(self, chosen: Sequence[RunView], away: bool) -> None:
        def work() -> None:
            for run in chosen:
                RunFolder(run.path).set_user(archived=away)

        self.in_thread(work, lambda _: self.app.services.runs.wake())

    def action_delete(self) -> None:
        chosen = self.chosen()
        live = next((run for run in chosen if run.live and run.state != "queued"), None)
        if live:
            self.say(f"{called(live)} is {live.state}: {self._key('stop')} stops it first", "warn", "!")
        elif chosen:
            sentence = f"Delete {plural(chosen)}? They go to the trash; {self._key('undo')} brings them back."
            if len(chosen) == 1:
                sentence = f"Delete {called(chosen[0])}? It goes to the trash; {self._key('undo')} brings it back."
            question = Question(sentence, "delete", "keep")
            self.app.push_screen(question, lambda yes: self._delete(chosen) if yes else None)

    def _delete(self, chosen: Sequence[RunView]) -> None:
        root = self.app.root

        def done(trashed: list[str]) -> None:
            self.push_undo(f"{plural(chosen)} brought back", lambda: self._undelete(root, trashed))
            for run in chosen:
                self.app.services.unmark(run.id)
            self.app.services.runs.wake()
            self.say(f"{plural(chosen)} deleted; {self._key('undo')} brings back")
            self.gone(chosen)

        self.in_thread(lambda: [runs.delete(RunFolder(run.path)) for run in chosen], done)

    def _undelete(self, root: Path, trashed: Sequence[str]) -> None:
        self.in_thread(lambda: [runs.undelete(root, name) for name in trashed], lambda _: self.app.services.runs.wake())

    def action_undo(self) -> None:
        if not self.app.undone:
            self.say("nothing to undo")
            return
        undo = self.app.undone.pop()
        undo.act()
        self.say(undo.text)

    def push_undo(self, text: str, act: Callable[[], object]) -> None:
        """Remember how to take back what was just done."""
        self.app.undone.append(Undo(text, act))

    # Describing and taking away.

    def action_edit(self) -> None:
        run = self.here()
        if run is None:
            return
        form = Form(
            f"Edit {run.id}",
            [
                Field("name", "name", run.name, f"at most {runs.NAME_LENGTH} characters"),
                Field("tags", "tags", " ".join(run.tags), "words, parted by spaces"),
                Field("note", "note", run.note.replace("\n", " "), "one line"),
            ],
            _wrong,
        )
        self.app.push_screen(form, lambda answers: self._edit(run, answers) if answers else None)

    def _edit(self, run: RunView, answers: dict[str, str]) -> None:
        before: dict[str, object] = {"name": run.name, "tags": list(run.tags), "note": run.note}
        changes: dict[str, object] = {"name": answers["name"], "tags": answers["tags"].split()}
        if answers["note"] != run.note.replace("\n", " "):
            changes["note"] = answers["note"]
        self._describe(run, changes)
        self.push_undo(f"{called(run)} is called and tagged as before", lambda: self._describe(run, before))

    def _describe(self, run: RunView, changes: dict[str, object]) -> None:
        self.in_thread(lambda: RunFolder(run.path).set_user(**changes), lambda _: self.app.services.runs.wake())

    def action_show_yaml(self) -> None:
        run = self.here()
        if run is not None:
            text = RunFolder(run.path).config_text() or "config.yaml is missing"
            self.app.push_screen(Reader(f"{called(run)}: config.yaml", text))

    def action_copy_command(self) -> None:
        run = self.here()
        if run is not None:
            command = f"cifar-tui --run {_quoted(shown_path(run.path / 'config.yaml'))}"
            self.app.copy_to_clipboard(command)
            self.say(f"copied: {command}")

    def action_write(self) -> None:
        run = self.here()
        if run is not None:
            choice = Choice(f"Write {called(run)} as", self.forms)
            self.app.push_screen(choice, lambda form: self._write_as(run, form) if form else None)

    def _write_as(self, run: RunView, form: str) -> None:
        if form in self.drawn:
            kind, suffix = self.drawn[form]
            name = f"{called(run)}-{kind}" if kind else called(run)
            self.ask_figure(name, suffix, [run.path], kind)
        else:
            self.ask_where(called(run), form, partial(_exported, RunFolder(run.path)))

    def ask_where(self, name: str, form: str, text: Callable[[str], str]) -> None:
        """Ask for a file, and write there in a thread what `text` makes of the form."""
        self._ask_file(name, form, lambda target: _write_new(target, text(form)))

    def ask_figure(self, name: str, suffix: str, paths: Sequence[Path], kind: str = "") -> None:
        """Ask for a file, and have a figure of the runs at `paths` drawn there by a process of its own."""

        def draw(target: Path) -> None:
            self._from_thread(self.say, f"drawing {shown_path(target.absolute())}{glyphs.active().ellipsis}")
            _draw_new(target, paths, kind)

        self._ask_file(name, suffix, draw)

    def _ask_file(self, name: str, suffix: str, make: Callable[[Path], None]) -> None:
        stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)[:80]
        field = Field("path", "file", f"{stem.lstrip('.') or 'run'}.{suffix}", "an existing file is not overwritten")
        ask = Form(f"Write {name}", [field], lambda answers: "" if answers["path"] else "give a name")

        def write(answers: dict[str, str] | None) -> None:
            if answers:
                target = _typed(answers["path"])
                self.in_thread(lambda: make(target), lambda _: self._wrote(target))

        self.app.push_screen(ask, write)

    def _wrote(self, target: Path) -> None:
        self.say(f"wrote {shown_path(target.absolute())}", "good", glyphs.active().state("finished"))

    def _nothing(self, verb: str, why: str) -> None:
        run = self.here()
        self.say(f"nothing to {verb}: {called(run)} {why}" if run else f"nothing to {verb}")

    def _key(self, action: str) -> str:
        return self.app.keymap.shown(action, self.scope)


def _quoted(path: str) -> str:
    """A path as a shell reads it, `~/` as the home folder."""
    return "~/" + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)


def _exported(run: RunFolder, form: str) -> str:
    from tui import export

    return export.to_text(run, cast(export.Format, form))


def _checkpoint(run: RunView) -> None:
    from engine import launch

    launch.checkpoint(RunFolder(run.path), who())


def _resume(run: RunView) -> None:
    from engine import launch

    launch.resume(RunFolder(run.path), by=who())


def _stop(run: RunView) -> str:
    from engine import launch, queue

    folder = RunFolder(run.path)
    view = folder.view()
    launch.refuse_elsewhere(view)
    if view.state == "queued":
        queue.remove(run.path.parent, run.id, by=who())
        return "is taken out of the queue"
    if not launch.stop(folder):
        raise UserError(f"{called(run)} cannot be stopped from here: no process of it lives on this machine")
    return "stops after this step, with a checkpoint"


def _pause(run: RunView) -> str:
    from engine import launch

    folder = RunFolder(run.path)
    if folder.view().state == "paused":
        launch.proceed(folder, who())
        return "goes on"
    launch.pause(folder, who())
    return "holds at its next step"


def _summed(said: Sequence[str], chosen: Sequence[RunView]) -> str:
    return f"{plural(chosen)} {said[0]}" if len(set(said)) == 1 else f"{len(said)} runs asked"


def _wrong(answers: dict[str, str]) -> str:
    if len(answers["name"]) > runs.NAME_LENGTH:
        return f"name: {len(answers['name'])} characters; at most {runs.NAME_LENGTH} are kept"
    if len(answers["tags"].split()) > runs.TAGS:
        return f"tags: at most {runs.TAGS}"
    return ""


def _typed(text: str) -> Path:
    """A path as a shell reads it; whatever was typed, this and `os.path` raise nothing."""
    return Path(os.path.expanduser(text))


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet. Raises UserError when it is, or cannot be written."""
    try:
        atomic.write_text(path, text, replace=False)
    except FileExistsError:
        raise UserError(_TAKEN.format(path)) from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from error


def _draw_new(path: Path, runs_drawn: Sequence[Path], kind: str) -> None:
    """Draw a figure into a file that is not there yet. Raises UserError when it is, or nothing can be drawn."""
    from engine import analysis

    if os.path.exists(path):
        raise UserError(_TAKEN.format(path))
    question = {"ask": "figure", "runs": [str(run) for run in runs_drawn], "kind": kind or None, "checkpoint": None}
    analysis.ask({**question, "output": str(path.absolute())}, quietly=True)


def ask_folder(screen: BaseScreen) -> None:
    """Ask which runs folder to show."""
    field = Field("path", "folder", shown_path(screen.app.root), "where the runs are, or will be")
    form = Form("Open another runs folder", [field], lambda answers: _wrong_folder(answers["path"]))

    def opened(answers: dict[str, str] | None) -> None:
        if not answers:
            return
        try:
            screen.app.open_folder(runs.runs_root(_typed(answers["path"])))
        except UserError as error:
            screen.complain(error)

    screen.app.push_screen(form, opened)


def _wrong_folder(text: str) -> str:
    path = _typed(text)
    if not text:
        return "give a folder"
    return "" if os.path.isdir(path) else f"there is no folder {shown_path(path)}"
