"""A run says which code trained it."""

import json
import subprocess
from pathlib import Path

import pytest

from engine import __version__, provenance


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_checkout_tells_its_commit_and_what_was_changed_since(tmp_path: Path) -> None:
    root, attempt = tmp_path / "checkout", tmp_path / "attempt"
    root.mkdir()
    attempt.mkdir()
    git(root, "init", "--quiet")
    (root / "train.py").write_text("lr = 1\n")
    git(root, "add", "train.py")
    git(root, "commit", "--quiet", "-m", "first")
    provenance.write(attempt, root)
    code = json.loads((attempt / "code.json").read_text())
    assert code == {
        "schema": 1, "cifar_tui": __version__, "commit": git(root, "rev-parse", "HEAD"), "changed": False
    }  # fmt: skip
    assert not (attempt / "code.patch").exists()
    (root / "train.py").write_text("lr = 2\n")
    provenance.write(attempt, root)
    assert json.loads((attempt / "code.json").read_text())["changed"]
    assert "+lr = 2" in (attempt / "code.patch").read_text()


@pytest.mark.parametrize("broken", [False, True])
def test_without_a_checkout_that_git_can_read_the_version_is_told(tmp_path: Path, broken: bool) -> None:
    if broken:
        (tmp_path / ".git").mkdir()
    provenance.write(tmp_path, tmp_path)
    assert json.loads((tmp_path / "code.json").read_text()) == {"schema": 1, "cifar_tui": __version__}
