"""Which code trained a run: our version and, in a checkout, the commit and what was changed since."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine import __version__, atomic

ROOT = Path(__file__).resolve().parents[1]
PATCH_BYTES = 1 << 20
GIT_S = 5.0


def write(folder: Path, root: Path = ROOT) -> None:
    """Leave ``code.json`` in ``folder`` and, where ``root`` is a checkout with changes, their first MiB as a patch.

    Without git, or where it fails, the version alone is told. Raises OSError.
    """
    code: dict[str, Any] = {"schema": 1, "cifar_tui": __version__}
    if (root / ".git").exists():
        with suppress(OSError, subprocess.SubprocessError):
            code["commit"] = _git(root, "rev-parse", "HEAD").decode().strip()
            patch = _git(root, "diff", "--no-ext-diff", "--no-textconv", "HEAD")
            code["changed"] = bool(patch)
            if patch:
                atomic.write_bytes(folder / "code.patch", patch[:PATCH_BYTES])
    atomic.write_json(folder / "code.json", code)


def _git(root: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(root), *arguments]
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    return subprocess.run(command, capture_output=True, check=True, timeout=GIT_S, env=environment).stdout
