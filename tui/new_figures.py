"""The figures of New run that need torch: asked of the engine's helper process, kept by what decides them."""

import base64
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from engine.counts_cache import Counts
from engine.experiment import Experiment
from engine.precision import expected
from tui import new_form
from tui.engine_client import Answer, EngineClient
from tui.new_form import Choice, Image
from tui.new_view import Samples

COUNTS, SURVEY, ACTIVATIONS, SAMPLES = "new counts", "new survey", "new activations", "new samples"
DRAWS = 5


class Figures:
    """Counts and augmented samples of the experiment in hand, and the sizes of all networks of a list.

    `changed` is called on the app's thread whenever an answer came; `deliver` runs a function there.
    """

    def __init__(
        self, engine: EngineClient, deliver: Callable[[Callable[[], object]], object], changed: Callable[[], object]
    ) -> None:
        self._engine, self._deliver, self._changed = engine, deliver, changed
        self._experiment: Experiment | None = None
        self._networks: Sequence[Choice] = ()
        self._image: Image | None = None
        self._surveyed: dict[str, Counts] = {}
        self._counts: dict[str, Counts] = {}
        self._refused: dict[str, str] = {}
        self._samples: tuple[str, Samples] | None = None
        self._draw, self._picture = 0, 0
        self.samples_remark = ""

    def use(self, experiment: Experiment | None, networks: Sequence[Choice]) -> None:
        """Ask for what is not known of an experiment and of the networks beside it."""
        self._experiment = experiment
        if experiment is None:
            return
        self._survey(new_form.image_of(experiment.data), networks)
        self._ask_counts()
        self._ask_samples()

    def forget(self) -> None:
        """Take back the questions that still wait."""
        for topic in (COUNTS, SURVEY, ACTIVATIONS, SAMPLES):
            self._engine.forget(topic)

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters of the networks in the list that are counted, by name."""
        return {name: one.parameters for name, one in self._surveyed.items()}

    @property
    def counts(self) -> Counts | None:
        """Counts of the experiment's network for one image in fp32."""
        return self._counts.get(self._counts_key("fp32"))

    @property
    def activation_bytes(self) -> int | None:
        """Activations of one image in the arithmetic that the run will have here."""
        counts = self._counts.get(self._counts_key("bf16")) if self._precision() == "bf16" else self.counts
        return counts.activation_bytes if counts else None

    @property
    def refused(self) -> str:
        """Why the network cannot be counted, "" if it can."""
        return self._refused.get(self._counts_key("fp32"), "")

    @property
    def samples(self) -> Samples | None:
        """The augmented samples, None until they are there."""
        return self._samples[1] if self._samples and self._samples[0] == self._samples_key() else None

    def draw_again(self) -> None:
        """Other draws of the same image."""
        self._draw += 1
        self._ask_samples()

    def next_image(self) -> None:
        self._picture += 1
        self._ask_samples()

    def _survey(self, image: Image, networks: Sequence[Choice]) -> None:
        """Find the parameters of all networks of the list for images of this kind."""
        self._networks = networks
        if image != self._image:
            self._image = image
            self._surveyed = {}
            threading.Thread(target=self._read_known, args=(image,), name="known counts", daemon=True).start()

    def _read_known(self, image: Image) -> None:
        known = new_form.known_counts(self._networks, image)
        self._deliver(partial(self._take_known, image, known))

    def _take_known(self, image: Image, known: Mapping[str, Counts]) -> None:
        if image == self._image:
            self._surveyed |= known
            self._ask_next()
            self._changed()

    def _ask_next(self) -> None:
        """Ask for the uncounted network that is nearest to the cursor; its answer asks for the next."""
        name = self._experiment.architecture.name if self._experiment else ""
        cursor = next((place for place, choice in enumerate(self._networks) if choice.name == name), 0)
        missing = [
            (abs(place - cursor), place, choice)
            for place, choice in enumerate(self._networks)
            if not choice.problem and choice.name not in self._surveyed and choice.name not in self._refused
        ]
        if missing and self._image:
            _, _, choice = min(missing, key=lambda entry: entry[:2])
            question = _count_question(choice.options, self._image, "fp32")
            self._engine.ask(question, partial(self._take_surveyed, choice.name, self._image), SURVEY)

    def _take_surveyed(self, name: str, image: Image, answer: Answer) -> None:
        if image != self._image:
            return
        if answer.error:
            self._refused[name] = answer.error
        else:
            self._surveyed[name] = _counts(answer)
        self._ask_next()
        self._changed()

    def _ask_counts(self) -> None:
        """Ask what the experiment's own network costs, in the arithmetic it asks for."""
        for precision, topic in (("fp32", COUNTS), ("bf16", ACTIVATIONS)):
            key = self._counts_key(precision)
            wanted = precision == "fp32" or self._precision() == "bf16"
            if wanted and self._image and key not in self._counts and key not in self._refused:
                question = _count_question(json.loads(key)[0], self._image, precision)
                self._engine.ask(question, partial(self._take_counts, key), topic)

    def _take_counts(self, key: str, answer: Answer) -> None:
        if answer.error:
            self._refused[key] = answer.error
        else:
            self._counts[key] = _counts(answer)
        self._changed()

    def _counts_key(self, precision: str) -> str:
        """What decides the counts, as text."""
        if self._experiment is None:
            return ""
        options = self._experiment.architecture.model_dump(mode="json", exclude={"name"})
        return json.dumps([options, self._image, precision])

    def _precision(self) -> str:
        train = self._experiment.train if self._experiment else None
        return expected(train.precision, train.device) if train else "fp32"

    def _samples_key(self) -> str:
        if self._experiment is None:
            return ""
        data = self._experiment.data.model_dump(mode="json", include={"name", "image_size", "grey"})
        options = self._experiment.augmentation.model_dump(mode="json", exclude={"name"})
        return json.dumps([options, data, self._picture, self._draw])

    def _ask_samples(self) -> None:
        key = self._samples_key()
        if not key or (self._samples is not None and self._samples[0] == key):
            return
        options, data, image, seed = json.loads(key)
        question = {"ask": "preview", "augmentation": options, "data": data, "image": image, "draws": DRAWS}
        self._engine.ask({**question, "seed": seed}, partial(self._take_samples, key), SAMPLES)

    def _take_samples(self, key: str, answer: Answer) -> None:
        if key == self._samples_key():
            self.samples_remark = answer.error
            self._samples = None if answer.error else (key, _samples(answer, json.loads(key)[1]["name"]))
            self._changed()


def _count_question(options: Mapping[str, Any], image: Image, precision: str) -> dict[str, Any]:
    channels, size, classes = image
    return {
        "ask": "count",
        "architecture": dict(options),
        "channels": channels,
        "size": size,
        "classes": classes,
        "batch": 1,
        "precision": precision,
    }


def _counts(answer: Answer) -> Counts:
    return Counts.from_json(answer.value)


def _samples(answer: Answer, wanted: str) -> Samples:
    """The pictures of a preview; a data set that is not on this disk was stood in for, and the label says so."""
    value = answer.value
    label = value["label"] if value["source"] == wanted else f"{value['label']} ({wanted} not here)"
    return Samples(value["size"], label, tuple(base64.b64decode(one) for one in value["pictures"]))
