"""What New run does with what a person chose and typed: one checked experiment, or sentences that say what is wrong.

Plain values and functions; importing this imports pydantic, which takes long, so the screen does it in a thread.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter

from engine import atomic, counts_cache, ownership, presets, strict_yaml
from engine import experiment as experiments
from engine.composition import Override, load_ingredient
from engine.counts_cache import Counts
from engine.errors import UserError
from engine.experiment import Experiment
from engine.options.architecture import ArchitectureChoice
from engine.options.base import Options
from engine.options.data import Data, DatasetName
from engine.options.training import Train
from engine.presets import INGREDIENTS, Kind, Preset
from engine.text import clean

MAX_SEEDS = 100
FIRST_PRESET = "quickstart"
SEED = "{seed}"
_SOURCE = "form"
_PLACE = re.compile(r"^(?:form(?::\d+)?: |--set )")
_WHOLE = re.compile(r"( \d+)\.0$")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_RANGE = re.compile(r"(\d+)(?:-|\.\.)(\d+)")
# The list has a column of its own for what the files say in words.
_SIZE_REMARK = re.compile(r" \((?:about )?[\d,.]+(?: million)? parameters\)$|; [\d,.]+(?: million)? parameters(?=\)$)")
_COUNT = re.compile(r"\d{1,3}(,\d{3})+")


@dataclass(frozen=True)
class Choice:
    """One line of a list: an ingredient's options, as a preset has them or as an experiment changed them."""

    kind: Kind
    name: str
    about: str
    options: Mapping[str, Any] = field(hash=False, default_factory=dict)
    changed: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the training form. `key` is where its value goes in the experiment, "" for none of its own.

    `hint` stands beside it where there is room, `help` is said of it while it has the cursor.
    """

    name: str
    label: str
    short: str
    key: str
    hint: str
    help: str


def _help(model: type[Options], name: str) -> str:
    return model.model_fields[name].description or ""


_SEEDS = "One run for each, such as 1 2 3 or 1-5. Seed of the weights, the order and every draw."
FIELDS: tuple[Field, ...] = (
    Field("data", "data set", "data", "data.name", ", ".join(get_args(DatasetName)), _help(Data, "name")),
    Field("epochs", "epochs", "epochs", "train.epochs", "passes over the images, or 64000 steps",
          _help(Train, "epochs")),
    Field("batch_size", "batch size", "batch", "train.batch_size", "images a step", _help(Train, "batch_size")),
    Field("validation", "validation", "valid.", "data.validation", "held out, alike for every model",
          _help(Data, "validation")),
    Field("seeds", "seeds", "seeds", "", "one run each: 1 2 3, or 1-5", _SEEDS),
    Field("precision", "precision", "prec.", "train.precision", "auto, fp32 or bf16", _help(Train, "precision")),
    Field("device", "device", "device", "train.device", "auto, cpu, cuda, cuda:N or mps", _help(Train, "device")),
    Field("tags", "tags", "tags", "", "words to find the runs by", _help(Experiment, "tags")),
    Field("name", "name", "name", "", f"{SEED} becomes the seed's number", f"{SEED} becomes the seed's number."),
    Field("set", "set", "set", "", "any option: optimizer.lr=0.05", "Any option: optimizer.lr=0.05 train.compile=off"),
)  # fmt: skip


@dataclass(frozen=True)
class Form:
    """All that was chosen and typed. `base` is the experiment it began with, in full; `texts` are the fields'."""

    base: Mapping[str, Any]
    chosen: Mapping[Kind, Choice]
    texts: Mapping[str, str]
    source: str = ""
    named: bool = False

    def with_choice(self, choice: Choice) -> "Form":
        """Another ingredient; a name that was never typed follows it."""
        return _renamed(replace(self, chosen={**self.chosen, choice.kind: choice}))

    def with_text(self, name: str, text: str) -> "Form":
        """Another text in a field."""
        changed = replace(self, texts={**self.texts, name: text})
        if name == "name":
            return replace(changed, named=bool(text.strip()))
        return _renamed(changed)


@dataclass(frozen=True)
class Draft:
    """What a form comes to: the experiment with its first seed, or what is wrong by the name of its field."""

    experiment: Experiment | None
    problems: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def valid(self) -> bool:
        return self.experiment is not None and not self.problems

    @property
    def sentence(self) -> str:
        """The first problem, "" when there is none."""
        return self.problems[0][1] if self.problems else ""


@dataclass(frozen=True)
class Catalogue:
    """The presets there are, and the counts of networks that were counted before."""

    choices: Mapping[Kind, tuple[Choice, ...]]
    experiments: tuple[Preset, ...]


def read_catalogue() -> Catalogue:
    """Read all presets. A broken one is listed with its problem."""
    return Catalogue(
        {kind: tuple(_choice(preset) for preset in presets.catalogue(kind)) for kind in INGREDIENTS},
        tuple(sorted(presets.catalogue("experiment"), key=_quickstart_first)),
    )


def _quickstart_first(preset: Preset) -> tuple[bool, str]:
    return preset.name != FIRST_PRESET, preset.name


def _choice(preset: Preset) -> Choice:
    about = _SIZE_REMARK.sub("", clean(preset.about))
    try:
        return Choice(preset.kind, preset.name, about, load_ingredient(preset.kind, preset.name).value)
    except UserError as error:
        return Choice(preset.kind, preset.name, about, problem=clean(str(error).partition("\n")[0]))


def begin(source: str, catalogue: Catalogue) -> Form:
    """The form filled in from a preset of a whole experiment. Raises UserError when it cannot be read."""
    return from_experiment(experiments.load(source), catalogue, source=source)


def begin_from_run(config: str, where: str, catalogue: Catalogue) -> Form:
    """The form filled in from the config.yaml of a run. Raises UserError when it cannot be read."""
    experiment = experiments.loads(config, where)
    return from_experiment(experiment.model_copy(update={"published": None}), catalogue, source="", named=True)


def from_experiment(experiment: Experiment, catalogue: Catalogue, *, source: str, named: bool = False) -> Form:
    """The form of an experiment: its ingredients by their presets, or as it changed them."""
    base = experiment.model_dump(mode="json")
    chosen = {kind: _chosen(kind, base, catalogue) for kind in INGREDIENTS}
    seed = experiment.train.seed
    texts = {
        "data": experiment.data.name,
        "epochs": _length(experiment),
        "batch_size": f"{experiment.train.batch_size:,}",
        "validation": f"{experiment.data.validation:,}",
        "seeds": str(seed),
        "precision": experiment.train.precision,
        "device": experiment.train.device,
        "tags": " ".join(experiment.tags),
        "name": _template(experiment.name, seed),
        "set": "",
    }
    return _renamed(Form(base, chosen, texts, source, named and bool(texts["name"])))


def _length(experiment: Experiment) -> str:
    steps = experiment.train.steps
    return f"{experiment.train.epochs:g}" if steps is None else f"{steps} steps"


def _template(name: str, seed: int) -> str:
    """`best_5m-s3` of seed 3 as `best_5m-s{seed}`, so that other seeds have other names."""
    return re.sub(rf"(?<=[-_]s){seed}$", SEED, name)


def _chosen(kind: Kind, base: Mapping[str, Any], catalogue: Catalogue) -> Choice:
    options = base[kind]
    preset = next((choice for choice in catalogue.choices[kind] if choice.name == options.get("name")), None)
    if preset is None:
        name = str(options.get("name") or next(iter(options.values()), "") or "custom")
        return Choice(kind, clean(name), "as this experiment has it", options, changed=True)
    if not preset.problem and _resolved(kind, preset.options, base) == options:
        return preset
    differing = ", ".join(_differences(_resolved(kind, preset.options, base) or {}, options))
    return Choice(kind, preset.name, f"with {differing}", options, changed=True)


def _resolved(kind: Kind, options: Mapping[str, Any], base: Mapping[str, Any]) -> Any:
    """An ingredient with all its defaults, as it stands in an experiment."""
    try:
        experiment = experiments.loads(strict_yaml.dump({**base, kind: dict(options)}), _SOURCE)
    except UserError:
        return None
    return experiment.model_dump(mode="json")[kind]


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [f"{key} {_plain(value)}" for key, value in after.items() if before.get(key) != value and key != "name"]


def _plain(value: Any) -> str:
    return strict_yaml.dump({"x": value}).strip().removeprefix("x:").strip().replace("\n", " ")


def _renamed(form: Form) -> Form:
    """The name that a form gives itself, until somebody types one."""
    if form.named:
        return form
    unchanged = all(form.chosen[kind].options.get("name") == form.base[kind].get("name") for kind in INGREDIENTS)
    own = form.source if form.source and unchanged and "/" not in form.source else ""
    parts = [form.chosen[kind].name for kind in ("architecture", "optimizer")]
    return replace(form, texts={**form.texts, "name": f"{own or '-'.join(parts)}-s{SEED}"})


def draft(form: Form) -> Draft:
    """Check everything. Never raises for anything chosen or typed."""
    problems: list[tuple[str, str]] = [
        (kind, f"{kind}: {choice.problem}") for kind, choice in form.chosen.items() if choice.problem
    ]
    seeds, wrong = read_seeds(form.texts["seeds"])
    problems += [("seeds", wrong)] if wrong else []
    overrides, mistakes = _overrides(form)
    problems += mistakes
    experiment, found = _experiment(form, overrides, seeds)
    problems += found
    names = tuple(form.texts["name"].replace(SEED, str(seed)).strip() for seed in seeds)
    problems += [("name", problem) for problem in _name_problems(form, seeds)]
    return Draft(experiment, tuple(problems), seeds, names)


def _name_problems(form: Form, seeds: Sequence[int]) -> list[str]:
    if len(form.texts["name"]) > 200:
        return ["name: longer than 200 characters"]
    if len(seeds) > 1 and SEED not in form.texts["name"]:
        return [f"name: {len(seeds)} runs would have one name; put {SEED} into it"]
    return []


def read_seeds(text: str) -> tuple[tuple[int, ...], str]:
    """`1 2 3`, `1, 2` or `1-5` as seeds, with what is wrong ("" if nothing)."""
    seeds: list[int] = []
    for word in text.replace(",", " ").split():
        span = _RANGE.fullmatch(word)
        first, last = (int(span[1]), int(span[2])) if span else (0, -1)
        if span and 0 <= last - first < MAX_SEEDS:
            seeds += range(first, last + 1)
        elif word.isdecimal() and len(word) < 19:
            seeds.append(int(word))
        else:
            return (0,), f'seeds: "{clean(word)[:20]}" is no seed; write whole numbers such as 1 2 3, or 1-5'
    if not seeds:
        return (0,), "seeds: none given; one is enough"
    if len(set(seeds)) < len(seeds):
        return tuple(dict.fromkeys(seeds)), "seeds: one stands there twice"
    if len(seeds) > MAX_SEEDS:
        return tuple(seeds[:MAX_SEEDS]), f"seeds: {len(seeds)} are more than {MAX_SEEDS} at once"
    return tuple(seeds), ""


def _overrides(form: Form) -> tuple[list[Override], list[tuple[str, str]]]:
    """The typed fields as overrides of the base, and the fields that cannot be one."""
    overrides: list[Override] = []
    problems = []
    for one in FIELDS:
        text = form.texts[one.name].strip()
        if not one.key:
            continue
        if not text:
            problems.append((one.name, f"{one.label}: nothing given"))
        elif one.name == "epochs":
            overrides += _length_overrides(text)
        else:
            overrides.append((one.key, text.replace(",", "") if _COUNT.fullmatch(text) else text))
    for word in form.texts["set"].split():
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            problems.append(("set", f'set: "{clean(word)[:40]}" is no KEY=VALUE, such as optimizer.lr=0.05'))
        else:
            overrides.append((key, value))
    return overrides, problems


def _length_overrides(text: str) -> list[Override]:
    number, _, unit = text.replace(",", "").partition(" ")
    if unit.strip() in ("step", "steps"):
        return [("train.steps", number)]
    return [("train.steps", "null"), ("train.epochs", text.replace(",", ""))]


def _experiment(
    form: Form, overrides: Sequence[Override], seeds: Sequence[int]
) -> tuple[Experiment | None, list[tuple[str, str]]]:
    tree = deepcopy(dict(form.base))
    tree |= {kind: dict(choice.options) for kind, choice in form.chosen.items() if not choice.problem}
    tree["train"] = {**tree["train"], "seed": seeds[0]}
    tree["tags"] = form.texts["tags"].split()
    tree["name"] = ""
    other = [form.chosen[kind].options.get("name") != form.base[kind].get("name") for kind in INGREDIENTS]
    if any(other) or form.texts["data"] != form.base["data"]["name"]:
        tree["published"] = None  # that figure was another experiment's
    try:
        return experiments.loads(strict_yaml.dump(tree), _SOURCE, overrides), []
    except UserError as error:
        return None, [_problem(line) for line in str(error).splitlines()]


def _problem(line: str) -> tuple[str, str]:
    """A sentence of the engine's, said of the form's field rather than of a file's line."""
    sentence = _WHOLE.sub(r"\1", _PLACE.sub("", clean(line)).removeprefix(": "))
    path = sentence.partition(":")[0]
    one = next((one for one in FIELDS if one.key and path == one.key), None)
    if one is not None and one.name == "device":
        return one.name, f"{sentence.partition(';')[0]}; allowed are auto, cpu, cuda, cuda:N and mps"[len("train.") :]
    if one is not None:
        return one.name, f"{one.label}{sentence[len(path) :]}"
    kind = path.partition(".")[0]
    return kind if kind in INGREDIENTS else "set", sentence


def experiments_of(form: Form) -> list[Experiment]:
    """One experiment for each seed, named. Raises UserError with the first problem of the form."""
    checked = draft(form)
    if not checked.valid or checked.experiment is None:
        raise UserError(checked.sentence)
    tree = checked.experiment.model_dump(mode="json")
    return [
        Experiment.model_validate({**tree, "name": name, "train": {**tree["train"], "seed": seed}})
        for seed, name in zip(checked.seeds, checked.names, strict=True)
    ]


def validated_architecture(options: Mapping[str, Any]) -> Any:
    """The architecture's options; raises pydantic's ValidationError."""
    return _ARCHITECTURES.validate_python(dict(options))


_ARCHITECTURES: TypeAdapter[Any] = TypeAdapter(ArchitectureChoice)

Image = tuple[int, int, int]
"""Channels, side and classes: with the options, what decides a network's counts."""


def image_of(data: Data) -> Image:
    return data.channels, data.size, data.classes


def known_counts(choices: Sequence[Choice], image: Image) -> dict[str, Counts]:
    """Counts of one image in fp32, by the choices' names, of all that were counted before."""
    found = {}
    for choice in choices:
        try:
            counts = counts_cache.lookup(validated_architecture(choice.options), *image, 1, "fp32")
        except ValueError:
            continue
        if counts is not None:
            found[choice.name] = counts
    return found


def preset_folder() -> Path:
    """Where presets are saved: ./presets where there is one, else the user's own."""
    here = Path("presets")
    return here if here.is_dir() and not (here / "__init__.py").exists() else presets.user_folder()


def check_preset_name(name: str) -> str:
    """What is wrong with a name for a preset's file, "" if nothing."""
    if not name:
        return "a preset needs a name"
    if not _FILE_NAME.fullmatch(name):
        return "letters, digits and . _ + - only, at most 80 of them, the first a letter or digit"
    return ""


def preset_text(experiment: Experiment, about: str = "") -> str:
    """The experiment as a person would write it: presets by name where they are unchanged, defaults left out."""
    full = experiment.model_dump(mode="json")
    short = experiment.model_dump(mode="json", exclude_defaults=True)
    tree: dict[str, Any] = {"notes": about} if about else {}
    for kind in INGREDIENTS:
        tree[kind] = _short_ingredient(kind, full)
    for key in ("tags", "data", "train", "published"):
        if short.get(key):
            tree[key] = short[key]
    return strict_yaml.dump(tree)


def _short_ingredient(kind: Kind, full: Mapping[str, Any]) -> Any:
    options = full[kind]
    try:
        preset = _resolved(kind, load_ingredient(kind, options.get("name") or "").value, full)
    except UserError:
        return options
    if preset is None:
        return options
    changes = {key: value for key, value in options.items() if preset.get(key) != value}
    return {"use": options["name"], **changes} if changes else options["name"]


def save_preset(experiment: Experiment, name: str, *, replace_it: bool = False) -> Path:
    """Write the experiment as a preset. Raises UserError when it is there already or cannot be written."""
    wrong = check_preset_name(name)
    if wrong:
        raise UserError(f"{name}: {wrong}")
    folder = preset_folder()
    path = folder / f"{name}.yaml"
    if path.exists() and not replace_it:
        raise UserError(f"{path} is there already")
    try:
        ownership.make_folder(folder)
        atomic.write_text(path, preset_text(experiment, experiment.notes))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return path
