"""What goes wrong is written down for this user alone, and never into what somebody else put in its place."""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tui import own_log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The file of a log that is being written, in a folder that is not there yet."""
    logger = logging.getLogger("cifar-tui")
    before, propagates = list(logger.handlers), logger.propagate
    path = tmp_path / "state" / "cifar-tui" / "log.txt"
    umask = os.umask(0)
    own_log.log_to(path)
    yield path
    os.umask(umask)
    logger.handlers, logger.propagate = before, propagates


def say(text: str) -> None:
    logging.getLogger("cifar-tui").error(text)


def test_it_and_its_folders_are_ours_alone(log: Path) -> None:
    assert not log.parent.exists(), "nothing is made before something goes wrong"
    say("first")
    say("second \udcff \x1b[2J")
    assert [line.split(" ERROR ")[1] for line in log.read_text().splitlines()] == ["first", "second \ufffd "]
    paths = (log, log.parent, log.parent.parent)
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600, 0o700, 0o700]


@pytest.mark.parametrize("trap", ["link", "fifo", "folder"])
def test_what_lies_in_its_place_is_not_written_to(log: Path, tmp_path: Path, trap: str) -> None:
    log.parent.mkdir(parents=True, mode=0o700)
    precious = tmp_path / "precious"
    precious.write_text("kept")
    match trap:
        case "link":
            log.symlink_to(precious)
        case "fifo":
            os.mkfifo(log)
        case "folder":
            log.mkdir()
    say("lost")
    assert precious.read_text() == "kept"


def test_a_folder_of_others_is_not_written_to(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.parent.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    say("lost")
    assert list(log.parent.iterdir()) == []


def test_a_long_one_is_kept_once(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_log, "MOST_BYTES", 10)
    say("a long line")
    own_log.log_to(log)
    assert not log.exists()
    assert "a long line" in log.with_suffix(".old.txt").read_text()
