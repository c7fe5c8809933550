"""CUDA graphs without CUDA: what a capture records is repeated on the very tensors of the recording.

As with a real graph nothing of Python runs again, every result lands at its recorded address, and random numbers go on
where the generator stands. A value that the host asks for during a capture is refused, as a real capture refuses it.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Graph:
    """In the place of ``torch.cuda.CUDAGraph``."""

    def __init__(self) -> None:
        self.operations: list[tuple[Callable[..., Any], Sequence[Any], dict[str, Any], Any]] = []

    @torch.no_grad()
    def replay(self) -> None:
        for function, args, kwargs, results in self.operations:
            again = function(*args, **kwargs)
            for recorded, now in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(recorded, Tensor) and recorded.data_ptr() != now.data_ptr():  # else a view, or in place
                    recorded.copy_(now)


class Capture(TorchDispatchMode):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        results = func(*args, **(kwargs or {}))
        self._graph.operations.append((func, args, kwargs or {}, results))
        return results


class Stream:
    """In the place of ``torch.cuda.Stream``: there is but one order of events."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device

    def wait_stream(self, other: "Stream") -> None:
        """All before has been done."""


@contextlib.contextmanager
def capturing(graph: Graph, stream: Stream) -> Iterator[None]:
    """In the place of ``torch.cuda.graph``."""
    with Capture(graph):
        yield


def emulate(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on steps are captured on the CPU."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
