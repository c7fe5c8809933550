"""Every test sees an empty home: no configuration, runs or data of the person who runs the tests."""

from pathlib import Path

import pytest

OURS = ("CIFAR_TUI_RUNS", "CIFAR_TUI_DATA", "COLUMNS", "LINES")


@pytest.fixture(autouse=True)
def empty_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own; returns it."""
    home = tmp_path_factory.mktemp("home")
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    return home
