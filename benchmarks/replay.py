"""A record's own script beside our preset of it, step by step: same weights, same batches, every figure compared.

    python -m benchmarks.replay --peer airbench94=PATH/airbench94_muon.py [--peer airbench96=PATH …] [--data DIR]

The script trains as it is written, but for fp16 and its guards: in float64 on the CPU, on the batches that our
augmentation draws. What shows is whatever is not rounding: whitening, network, loss, learning rates, decay, optimiser,
lookahead, the choice of hard images, and the views of the test. What both draw at random, first weights and
augmentation, is compared by its moments. PRESET is airbench94, airbench94_record or airbench96. An epoch is one batch,
and airbench96 has ten; a step takes about a minute on two cores, and 10 GiB of memory.
"""

import argparse
import contextlib
import copy
import io
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks import report
from engine import device
from engine.data.dataset import Dataset
from engine.data.dataset import load as load_data
from engine.evaluate import logits_of
from engine.experiment import load
from engine.optim import muon
from engine.training import Training

# What keeps a script from running in float64 on a CPU, or is there for the sake of fp16, and what stands there instead.
ON_A_CPU = {
    ".half()": ".double()",
    "torch.half": "torch.double",
    ".bfloat16()": ".double()",
    ".cuda()": "",
    ".pin_memory()": "",
    "'cuda'": "'cpu'",
    '"cuda"': '"cpu"',
    "torch.cuda.": "gpu.",
    "@torch.compile()": "",
    "@torch.compile(fullgraph=True)": "",
    '@torch.compile(mode="max-autotune", fullgraph=True)': "",
    "@torch.compile": "",
    "eps_stable = 1e-05": "eps_stable = 0.0",
    "eps_gms = 1e-05": "eps_gms = 0.0",
}
CHANGES = [("train.device", "cpu"), ("train.precision", "fp32"), ("train.compile", '"off"'), ("train.graph", '"off"')]
EPOCHS = {"airbench96": 10}
CIFAR_BATCHES = 50_000 // 1024
TESTED = 400
DRAWN = 8


class StoppedClock:
    """Stands for an event of a GPU."""

    def record(self) -> None:
        """Nothing to note."""

    def elapsed_time(self, _: "StoppedClock") -> float:
        """No time."""
        return 0.0


class Ours:
    """A preset's run in float64, on one batch an epoch; ``batches`` are all it will see: images, targets, indices."""

    def __init__(self, preset: str, data: Dataset) -> None:
        size = load(preset, CHANGES).train.batch_size
        shorter = [("train.epochs", str(EPOCHS[preset]))] if preset in EPOCHS else []
        experiment = load(preset, [*CHANGES, *shorter, ("data.train_limit", str(size))])
        self.settings = experiment.train
        self.data = replace(
            data,
            train_images=data.train_images[:size],
            train_labels=data.train_labels[:size],
            test_images=data.test_images[:TESTED],
            test_labels=data.test_labels[:TESTED],
        )
        with mock.patch.dict(muon.DTYPES, dict.fromkeys(muon.DTYPES, torch.float64)):
            self.training = Training(experiment, device.settle(experiment.train, experiment.total_steps), self.data)
        self.selection = self.training.selection
        self.networks = [self.training.model, *([self.selection.proxy] if self.selection else [])]
        self.first = [[tensor.clone() for tensor in _tensors(network)] for network in self.networks]
        self.batches = [self._batch(epoch) for epoch in range(experiment.total_steps)]
        self.training.batch_of = self._current_batch

    def _batch(self, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        plan = self.training.augment.draw_epoch(self.settings.seed, epoch, self.settings.batch_size)
        images, targets = self.training.augment(self.data.train_images, self.data.train_labels, plan.order, plan)
        return images.double(), targets, plan.order

    def _current_batch(self, *_: object) -> tuple[Tensor, Tensor]:
        return self.batches[self.training.step][:2]

    def step(self) -> None:
        """The engine's step on its next batch."""
        training = self.training
        plan = training.augment.draw_epoch(self.settings.seed, training.step, self.settings.batch_size)
        training.take_step(plan, 0)

    def drawn(self, times: int) -> Tensor:
        """The first image augmented so many times: (times, C, H, W)."""
        plan = self.training.augment.draw_epoch(self.settings.seed, 0, times)
        copies = self.data.train_images[:1].expand(times, -1, -1, -1)
        return self.training.augment(copies, self.data.train_labels[:1].expand(times), plan.order, plan)[0].double()

    def answers(self) -> Tensor:
        """Logits of the test images in all their views, from the weights that count in the end."""
        self.training.take_slow_weights()
        return logits_of(
            self.training.model,
            self.data.test_images,
            lambda images: self.training.normalise(images).double(),
            self.training.runtime,
            self.settings.eval_batch_size,
            self.settings.tta,
            self.settings.tta_share,
        )


class Replay:
    """A script's own ``main``: each of its steps is taken by ours too, on the same batch, and the two are compared.

    ``figures`` and ``steps`` say how far apart they were.
    """

    def __init__(self, script: types.ModuleType, ours: Ours) -> None:
        self.script, self.ours = script, ours
        self.networks: list[Any] = []
        self.chooses = hasattr(script, "hyp")
        self.proxy_learns = False
        self.figures: dict[str, float] = {}
        self.steps: list[float] = []
        self._replace(script.InfiniteCifarLoader if self.chooses else script.CifarLoader, "__iter__", self._batches)
        self._replace(script, "evaluate", self._evaluate)

    def run(self) -> None:
        """Draw, train and test."""
        with contextlib.redirect_stdout(io.StringIO()):
            if self.chooses:
                self._run_with_proxy()
            else:
                self._run_alone()

    def _run_alone(self) -> None:
        self._replace(self.script.CifarNet, "reset", self._reset)
        self._replace(
            self.script.CifarNet,
            "init_whiten",
            lambda whiten, net, images: self._whiten(whiten, net.whiten, net, images),
        )
        self.networks = [self.script.CifarNet().to(memory_format=torch.channels_last)]
        self.script.main("replay", self.networks[0])

    def _run_with_proxy(self) -> None:
        script = self.script
        self._replace(script, "reinit_net", self._reset)
        self._replace(
            script, "init_whitening_conv", lambda whiten, layer, images: self._whiten(whiten, layer, layer, images)
        )
        self._replace(script, "train_proxy", self._train_proxy)
        script.hyp["opt"]["train_epochs"] = self.ours.settings.epochs
        # The script compares this, times the batches of an epoch, with an epoch's number, and so never comes to it.
        script.hyp["opt"]["whiten_bias_epochs"] *= CIFAR_BATCHES
        self.networks = [script.make_net(script.hyp["net"]), script.make_net(script.hyp["proxy"])]
        self.networks[1][0].bias.requires_grad = False
        frozen = script.make_net(script.hyp["net"])
        for network in (*self.networks, frozen):
            object.__setattr__(network, "_orig_mod", network)  # as if it were compiled
        script.main("replay", script.hyp, self.networks[1], self.networks[0], frozen)
        self.figures["proxy"] = self._apart(1)

    def _replace(self, owner: Any, name: str, replacement: Callable[..., Any]) -> None:
        """From now on ``owner.name(...)`` is ``replacement(what it was, ...)``."""
        original = getattr(owner, name)
        setattr(owner, name, lambda *args, **named: replacement(original, *args, **named))

    def _reset(self, draw: Callable[[nn.Module], None], network: nn.Module) -> None:
        """Let the script draw its first weights, see how far their spread is from ours, and take ours."""
        draw(network)
        first = self.ours.first[self.networks.index(network)]
        pairs = [(theirs, ours) for theirs, ours in paired(network, first) if ours.dim() > 1]
        drawn = [float((theirs.std() / ours.std() - 1).abs()) for theirs, ours in pairs[1:]]  # the first is whitened
        self.figures["first weights"] = max(self.figures.get("first weights", 0.0), *drawn)
        for theirs, ours in paired(network, first):
            theirs.copy_(ours)

    def _whiten(self, whiten: Callable[..., None], layer: nn.Conv2d, *arguments: Any) -> None:
        """Let the script whiten, and take our filters, whose order and signs are free, where they do the same."""
        ours = layer.weight.detach().clone()
        whiten(*arguments)
        found = apart(_gram(ours), _gram(layer.weight.detach()))
        self.figures["whitening"] = max(self.figures.get("whitening", 0.0), found)
        layer.weight.data.copy_(ours)

    def _train_proxy(self, train: Callable[..., Any], *arguments: Any) -> Any:
        self.proxy_learns = True
        masks = train(*arguments)
        self.proxy_learns = False
        return masks

    def _batches(
        self, iterate: Callable[[Any], Iterator[tuple[Tensor, ...]]], loader: Any
    ) -> Iterator[tuple[Tensor, ...]]:
        if "normalisation" not in self.figures:
            self._compare_draws(iterate, loader)
        step = self.ours.training.step
        while step < len(self.ours.batches):
            images, targets, index = self.ours.batches[step]
            if not self.proxy_learns:
                self._compare_step()
                self.ours.step()
            yield (index, images, targets) if self.chooses else (images, targets)
            step += 1
            if not self.chooses:
                return

    def _compare_draws(self, iterate: Callable[[Any], Iterator[tuple[Tensor, ...]]], loader: Any) -> None:
        seen = loader.normalize(loader.images)
        self.figures["normalisation"] = apart(self.ours.training.normalise(self.ours.data.train_images).double(), seen)
        one, times = copy.copy(loader), DRAWN * loader.batch_size
        one.images, one.labels = loader.images[:1].repeat(times, 1, 1, 1), loader.labels[:1].repeat(times)
        one.subset_mask = torch.ones(times, dtype=torch.bool)
        one.epoch, one.proc_images, one._indices = 0, {}, torch.empty(times, dtype=torch.int64)
        theirs = torch.cat([batch[-2] for _, batch in zip(range(DRAWN), iterate(one), strict=False)])
        self.figures["augmentation, in standard errors"] = moments_apart(self.ours.drawn(times), theirs)

    def _compare_step(self) -> None:
        if self.ours.training.step:
            self.steps.append(self._apart(0))
            print(f"step {self.ours.training.step}: {self.steps[-1]:.1e}", file=sys.stderr, flush=True)

    def _apart(self, which: int) -> float:
        """The tensor that is furthest from ours, by how far training has taken it."""
        first, now = self.ours.first[which], _tensors(self.ours.networks[which])
        pairs = paired(self.networks[which], now)
        return max(apart(theirs, ours, start) for (theirs, ours), start in zip(pairs, first, strict=True))

    def _evaluate(self, _: Callable[..., float], network: nn.Module, loader: Any, tta_level: int = 0) -> float:
        """Nothing is looked at but the last answers, in all views."""
        if tta_level == 2:
            self._compare_step()
            self.figures["views"] = apart(self.ours.answers(), self.script.infer(network, loader, tta_level))
        return 0.0


def paired(network: nn.Module, ours: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Tensors of a script's network with ours, in order; a bias that the script keeps at zero we may not have."""
    pairs, rest = [], list(ours)
    for tensor in _tensors(network):
        if rest and tensor.shape == rest[0].shape:
            pairs.append((tensor, rest.pop(0)))
        elif tensor.any():
            raise SystemExit(f"replay: the script's network has a tensor {tuple(tensor.shape)} that ours lacks")
    return pairs


def apart(one: Tensor, other: Tensor, start: Tensor | float = 0.0) -> float:
    """How far two tensors are from each other, by how far one of them is from ``start``."""
    distance = float((one - other).double().norm())
    return distance / float((one - start).double().norm()) if distance else 0.0


def moments_apart(one: Tensor, other: Tensor) -> float:
    """Means of all values and of their squares (n, …) in two samples: the greatest difference by its own error."""
    worst = 0.0
    for first, second in ((one, other), (one**2, other**2)):
        error = ((first.var(0) + second.var(0)) / len(one)).sqrt().clamp(min=1e-9)
        worst = max(worst, float(((first.mean(0) - second.mean(0)) / error).abs().max()))
    return worst


def _tensors(network: nn.Module) -> list[Tensor]:
    return [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]


def _gram(filters: Tensor) -> Tensor:
    rows = filters.flatten(1)
    return rows.T @ rows


def read(path: Path) -> types.ModuleType:
    """A script as a module, for float64 on a CPU."""
    source = path.read_text()
    for text, instead in ON_A_CPU.items():
        source = source.replace(text, instead)
    script = types.ModuleType(path.stem)
    script.__dict__["gpu"] = types.SimpleNamespace(Event=lambda **_: StoppedClock(), synchronize=lambda: None)
    with mock.patch.object(sys, "argv", [str(path)]):
        exec(compile(source, str(path), "exec"), script.__dict__)
    return script


@contextlib.contextmanager
def data_of(ours: Ours) -> Iterator[None]:
    """Within, the current folder holds our data as a script looks for them."""
    data, classes = ours.data, list(ours.data.classes)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("cifar10").mkdir()
        for part, images, labels in (
            ("train", data.train_images, data.train_labels),
            ("test", data.test_images, data.test_labels),
        ):
            torch.save({"images": images.clone(), "labels": labels.clone(), "classes": classes}, f"cifar10/{part}.pt")
        yield


def main() -> None:
    """Replay every peer, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", required=True, metavar="PRESET=SCRIPT", help="a record's own script")
    parser.add_argument("--data", type=Path, help="where CIFAR-10 is, as for cifar-tui")
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    # Where either says float32, as for its loss, rounding would hide what is apart: steps this large multiply it.
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    found = report.saved("replay")
    for peer in options.peer:
        preset, _, script = peer.partition("=")
        ours = Ours(preset, load_data(load(preset).data, options.data))
        replay = Replay(read(Path(script)), ours)
        with data_of(ours):
            replay.run()
        found[preset] = {"script": Path(script).name, **replay.figures, "steps": replay.steps}
        rows = [[name, f"{figure:.1e}"] for name, figure in replay.figures.items()]
        rows += [[f"weights, step {step + 1}", f"{figure:.1e}"] for step, figure in enumerate(replay.steps)]
        print(report.table([f"{preset} and {Path(script).name}", "apart"], rows), flush=True)
        report.save("replay", found)


if __name__ == "__main__":
    main()
