"""New run: what to train, chosen from three lists and a form, beside what it costs, looks like and comes to."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult

from engine import presets
from engine.errors import UserError
from engine.runs import RunFolder, RunView
from tui import glyphs, new_layout, parameter_budget, searched_list
from tui.dialogs import Field as FormField
from tui.dialogs import Form as FormOverlay
from tui.dialogs import Option, Question, Reader
from tui.gpu_watch import GpuWatch
from tui.new_layout import LISTS
from tui.new_view import ListShown, Shown
from tui.screens.base import shown_path
from tui.screens.new_input import NewInput
from tui.screens.new_panes import Body, Loaded, SamplesOverlay
from tui.services import Changed
from tui.theme import Palette

if TYPE_CHECKING:
    from pathlib import Path

    # These import pydantic, which takes long: they are loaded in a thread while the empty screen is up.
    from engine.counts_cache import Counts
    from engine.experiment import Experiment
    from tui.new_facts import Estimate
    from tui.new_figures import Figures
    from tui.new_form import Catalogue, Choice, Draft, Form
    from tui.new_launch import Launched
    from tui.plot.model import Plot


class NewScreen(NewInput):
    """The screen New run, begun from a run's configuration where `run_id` names one."""

    scope = "new"

    def __init__(self, run_id: str | None = None) -> None:
        super().__init__()
        self._run_id = run_id
        self._draft: Draft | None = None
        self._own: dict[str, Choice] = {}
        self._experiment: Experiment | None = None
        self._guess: tuple[tuple[Any, ...], Estimate | None] | None = None
        self._rate: tuple[Experiment, Palette, Plot, str] | None = None
        self._good_texts: Mapping[str, str] = {}
        self._figures: Figures | None = None
        self._budget = 0
        self._launching = False
        self._watch: GpuWatch | None = None

    def compose_body(self) -> ComposeResult:
        yield Body(self)

    def on_mount(self) -> None:
        self.set_crumbs("New run")
        threading.Thread(target=self._load, name="presets", daemon=True).start()
        self._watch = GpuWatch(self.app.root, self._poke)
        self._watch.start()

    def _poke(self) -> None:
        self.app.post_message(Changed())

    def on_unmount(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        if self._figures is not None:
            self._figures.forget()

    # Reading the presets, in a thread.

    def _load(self) -> None:
        try:
            from engine.precision import expected
            from tui import new_facts, new_figures, new_form  # noqa: F401

            expected("auto", "auto")  # asks the driver, which may take its time
            catalogue = new_form.read_catalogue()
            form, problem = self._begin(catalogue)
        except Exception as error:
            self._from_thread(self.complain, error)
            return
        self.post_message(Loaded(catalogue, form, problem))

    def _begin(self, catalogue: "Catalogue") -> "tuple[Form, str]":
        """The form of the run or of the first preset that can be read, and what could not be."""
        from tui import new_form

        problem = ""
        if self._run_id is not None:
            folder = RunFolder(self.app.root / self._run_id)
            try:
                return new_form.begin_from_run(folder.config_text(), "config.yaml", catalogue), ""
            except UserError as error:
                problem = f"{self._run_id} cannot be begun anew: {error}"
        for preset in catalogue.experiments:
            try:
                return new_form.begin(preset.name, catalogue), problem
            except UserError as error:
                problem = problem or str(error)
        raise UserError(problem or "there are no presets of whole experiments")

    async def on_loaded(self, message: Loaded) -> None:
        from tui import new_figures

        self._catalogue = message.catalogue
        self._figures = new_figures.Figures(self.app.services.engine, self.app.call_later, self._answered)
        self._budget = parameter_budget.remembered(self.app.settings)
        self.start_from(message.form)
        if message.problem:
            self.say(message.problem, "bad", glyphs.active().state("failed"))
        await self.press_early()

    def start_from(self, form: "Form") -> None:
        self._own = {kind: choice for kind, choice in form.chosen.items() if choice.changed}
        names = [preset.name for preset in self._catalogue.experiments] if self._catalogue else []
        self._at_experiment = names.index(form.source) if form.source in names else 0
        self.use_form(form)

    def use_form(self, form: "Form") -> None:
        """Take over a changed form, and ask for what it needs."""
        from tui import new_form

        self._form, self._draft = form, new_form.draft(form)
        experiment = self._draft.experiment
        if experiment is not None:
            self._good_texts = form.texts
        elif self._good_texts:
            # What is half typed does not blank the figures: they stay those of the last text that was right.
            experiment = new_form.draft(replace(form, texts=self._good_texts)).experiment
        self._experiment = experiment
        if self._watch is not None and experiment is not None:
            self._watch.use(experiment.train.device)
        if self._figures is not None and self._catalogue is not None:
            self._figures.use(experiment, self._catalogue.choices["architecture"])
        self.changed()

    def _answered(self) -> None:
        """An answer of the engine's came."""
        if self.is_attached:
            self.changed()
            if isinstance(self.app.screen, SamplesOverlay):
                self.app.screen.redraw()

    # What is shown.

    def tick(self) -> None:
        self.query_one(Body).redraw()

    def refresh_size(self) -> None:
        if self._focus not in new_layout.pane_order(self.size_class):
            self._focus = "architecture"
        self.query_one(Body).redraw(everything=True)

    def footer_words(self) -> Mapping[str, str]:
        runs = len(self._draft.seeds) if self._draft else 1
        return {"launch": f"launch {runs}"} if runs > 1 else {}

    def shown(self) -> Shown:
        """All that is on the screen now."""
        if self._form is None or self._draft is None or self._catalogue is None or self._figures is None:
            nothing = ListShown((), 0, 0)
            return Shown(dict.fromkeys(LISTS, nothing), (), {}, None, samples_remark=" ")
        from tui import new_facts, new_form

        experiment = self._experiment
        figures = self._figures
        counts = figures.counts
        size = self.size_class
        guess = self._estimate(counts)
        plot, remark = self._schedule()
        return Shown(
            lists={kind: self.shown_list(kind) for kind in LISTS},
            fields=new_form.FIELDS,
            texts=self._form.texts,
            draft=self._draft,
            focus=self._focus,
            at_field=self._field,
            editing=self._editing,
            search=self._search,
            parameters=figures.parameters,
            facts=new_facts.facts(
                experiment,
                counts,
                figures.activation_bytes,
                guess,
                len(self._draft.seeds),
                refused=figures.refused,
                narrow=size == "narrow",
            ),
            budget=new_facts.budget(counts.parameters if counts else None, self._budget),
            layers=new_facts.layer_groups(counts, 6) if counts and size == "wide" else (),
            counts=counts,
            samples=figures.samples,
            samples_remark=figures.samples_remark,
            plot=plot,
            plot_remark=remark,
            summary=new_facts.summary(experiment),
            experiments=[(preset.name, preset.about) for preset in self._catalogue.experiments],
            experiment=self._at_experiment,
            source=self._form.source,
            remarks=new_facts.remarks(experiment),
            busy=self._busy(),
            in_use=self._watch.said if self._watch else "",
            batch_advice=new_facts.batch_advice(experiment, self._device()),
        )

    def _schedule(self) -> "tuple[Plot | None, str]":
        """The learning rate as a plot and in words, worked out once for an experiment."""
        from tui import new_facts

        if self._experiment is None:
            return None, ""
        if self._rate is None or self._rate[:2] != (self._experiment, self.palette):
            plot = new_facts.schedule_plot(self._experiment, self.palette)
            self._rate = (self._experiment, self.palette, plot, new_facts.schedule_remark(self._experiment))
        return self._rate[2:]

    def _estimate(self, counts: "Counts | None") -> "Estimate | None":
        """How long an epoch takes, worked out anew when the experiment, its counts or the runs are others."""
        from tui import new_facts

        experiment, past = self._experiment, self._past()
        if experiment is None:
            return None
        basis = (experiment, counts, past, self._device())
        if self._guess is None or any(old is not new for old, new in zip(self._guess[0], basis, strict=True)):
            self._guess = (basis, new_facts.estimate(*basis))
        return self._guess[1]

    def _past(self) -> Sequence[RunView]:
        return self.app.services.listing.runs

    def _device(self) -> str:
        from tui import new_facts

        device = self.app.services.machine.device
        gpu = device.name if device and device.index is not None else ""
        return new_facts.device_of(self._experiment, gpu) if self._experiment else ""

    def _busy(self) -> str:
        live = [run for run in self._past() if run.live and run.state != "queued"]
        return "busy: what is launched waits in the queue" if live else ""

    def choices_of(self, kind: str) -> "tuple[Choice, ...]":
        """The list of a kind: what the experiment itself changed stands with its namesake."""
        choices = self._catalogue.choices[kind] if self._catalogue else ()  # type: ignore[index]
        sizes = self._figures.parameters if self._figures and kind == "architecture" else {}
        if sizes and all(choice.name in sizes or choice.problem for choice in choices):
            choices = tuple(sorted(choices, key=lambda choice: sizes.get(choice.name, 0)))
        own = self._own.get(kind)
        if own is not None:
            place = next((i for i, choice in enumerate(choices) if choice.name == own.name), len(choices))
            choices = (*choices[:place], own, *choices[place:])
        if self._search is None or not self._search.text.strip() or kind != self._focus:
            return choices
        words = self._search.text.lower().split()
        return tuple(choice for choice in choices if all(word in _searched(choice) for word in words))

    # Looking closer.

    def action_draw_again(self) -> None:
        if self.size_class == "narrow":
            self.app.push_screen(SamplesOverlay(self))
            return
        self.draw_again()

    def draw_again(self) -> None:
        """Other draws of the same image."""
        if self._figures is not None:
            self._figures.draw_again()
            self.changed()

    def action_next_image(self) -> None:
        if self._figures is not None:
            self._figures.next_image()
            self.changed()

    def action_show_yaml(self) -> None:
        experiment = self._draft.experiment if self._draft else None
        if experiment is None:
            self._say_wrong()
        else:
            self.app.push_screen(Reader("YAML", experiment.to_yaml()))

    def action_budget(self) -> None:
        def check(answers: dict[str, str]) -> str:
            wrong = parameter_budget.read(answers["budget"]) is None
            return "a number of parameters, such as 5 M, 300 k or 4,779,530" if wrong else ""

        remark = "parameters that a network may have; the bar shows how much of it is used"
        fields = [FormField("budget", "budget", f"{self._budget:,}", remark)]
        self.app.push_screen(FormOverlay("Parameter budget", fields, check), self._take_budget)

    def _take_budget(self, answers: dict[str, str] | None) -> None:
        if answers:
            self._budget = parameter_budget.read(answers["budget"]) or self._budget
            parameter_budget.remember(self.app.settings, self._budget)
            self.changed()

    def action_experiments(self) -> None:
        if self._catalogue is None:
            return
        options = [Option(one.name, one.name, one.about) for one in self._catalogue.experiments]
        at = self._form.source if self._form else ""
        self.app.push_screen(searched_list.choice("Start from an experiment", options, at=at), self._take_experiment)

    def _take_experiment(self, name: str | None) -> None:
        names = [one.name for one in self._catalogue.experiments] if self._catalogue else []
        if name in names:
            self._prefill(names.index(name))

    # Launching and saving.

    def _say_wrong(self) -> None:
        sentence = self._draft.sentence if self._draft else "the presets are being read"
        self.say(sentence, "bad", glyphs.active().state("failed"))

    def action_launch(self) -> None:
        self._make(wait=False)

    def action_add_to_queue(self) -> None:
        self._make(wait=True)

    def _make(self, *, wait: bool) -> None:
        if self._form is None or self._draft is None or not self._draft.valid:
            self._say_wrong()
        elif not self._launching:
            self._launching = True
            self.say("making the run" if len(self._draft.seeds) == 1 else f"making {len(self._draft.seeds)} runs")
            counts = self._figures.counts if self._figures else None
            make = partial(_make, self._form, self.app.root, counts.parameters if counts else None, wait=wait)
            self.in_thread(make, partial(self._take_made, self._draft.names, stay=wait))

    def _take_made(self, names: Sequence[str], made: "Launched | Exception", *, stay: bool) -> None:
        """Say what became of the runs, and lead to them whoever has stayed to see it."""
        self._launching = False
        self.clear_message()
        if isinstance(made, Exception):
            self.complain(made)
            return
        said = _made_words(names, made)
        if stay or self.is_gone:
            self.say(said, "good", glyphs.active().state("finished"))
        elif made.started:
            self.app.goto("runs")
            self.app.open_run(made.run_ids[0])
        else:
            self.app.goto("runs")
            self.app.call_later(self.app.say, said, "good", glyphs.active().state("finished"))

    def action_save_preset(self) -> None:
        from tui import new_form

        if self._draft is None or not self._draft.valid:
            self._say_wrong()
            return

        def check(answers: dict[str, str]) -> str:
            return new_form.check_preset_name(answers["name"])

        folder = shown_path(new_form.preset_folder().absolute())
        fields = [FormField("name", "name", "", f"a file in {folder}{_only_first(self._draft.seeds)}")]
        self.app.push_screen(FormOverlay("Save as a preset", fields, check), self._take_preset_name)

    def _take_preset_name(self, answers: dict[str, str] | None) -> None:
        from tui import new_form

        if not answers:
            return
        path = new_form.preset_folder() / f"{answers['name']}.yaml"
        save = partial(self._save, answers["name"])
        if path.exists():
            question = Question(f"{shown_path(path.absolute())} is there already. Replace it?", "replace", "keep it")
            self.app.push_screen(question, lambda go: save() if go else None)
        else:
            save()

    def _save(self, name: str) -> None:
        if self._draft is None or self._draft.experiment is None:
            return
        self.in_thread(
            partial(_save, self._draft.experiment, name), partial(self._take_saved, _only_first(self._draft.seeds))
        )

    def _take_saved(self, remark: str, saved: "tuple[Path, tuple[presets.Preset, ...]]") -> None:
        path, known = saved
        if self._catalogue is not None:
            self._catalogue = replace(self._catalogue, experiments=known)
        self.say(f"saved as {shown_path(path.absolute())}{remark}", "good", glyphs.active().state("finished"))
        self.changed()


def _make(form: "Form", root: "Path", parameters: int | None, *, wait: bool) -> "Launched | Exception":
    """Make the runs of a form, or what prevented it."""
    from tui import new_form, new_launch
    from tui.run_actions import who

    try:
        return new_launch.make_runs(new_form.experiments_of(form), root, who(), parameters, wait=wait)
    except Exception as error:
        return error


def _made_words(names: Sequence[str], made: "Launched") -> str:
    if made.started:
        return f"{names[0]} is started"
    return f"{names[0]} waits in the queue" if len(names) == 1 else f"{len(names)} runs wait in the queue"


def _save(experiment: "Experiment", name: str) -> "tuple[Path, tuple[presets.Preset, ...]]":
    """Save a preset; returns where, and all presets that there are now."""
    from tui import new_form

    path = new_form.save_preset(experiment, name, replace_it=True)
    return path, tuple(presets.catalogue("experiment"))


def _only_first(seeds: Sequence[int]) -> str:
    """`, with seed 1 of 1 2 3`: a preset has one seed."""
    return f", with seed {seeds[0]} of {' '.join(map(str, seeds))}" if len(seeds) > 1 else ""


def _searched(choice: "Choice") -> str:
    return f"{choice.name} {choice.about}".lower()
