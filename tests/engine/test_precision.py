"""What `auto` becomes, by what the machine says of itself."""

from collections.abc import Iterator

import pytest

from engine import precision, system


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    precision.expected.cache_clear()
    yield
    precision.expected.cache_clear()


@pytest.mark.parametrize(
    ("device", "capability", "cpu", "expected"),
    [
        ("auto", 9, False, "bf16"),
        ("auto", 7, True, "fp32"),
        ("auto", None, True, "bf16"),
        ("auto", None, False, "fp32"),
        ("cuda:1", 8, False, "bf16"),
        ("cpu", 9, False, "fp32"),
        ("cpu", 9, True, "bf16"),
        ("mps", None, True, "fp32"),
    ],
)
def test_auto_is_bf16_where_the_device_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, device: str, capability: int | None, cpu: bool, expected: str
) -> None:
    monkeypatch.setattr(system, "compute_capability", lambda index: capability)
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: cpu)
    assert precision.expected("auto", device) == expected
    assert precision.expected("fp32", device) == "fp32"


def test_a_machine_without_nvml_has_no_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_nvml", lambda: None)
    assert system.compute_capability() is None
