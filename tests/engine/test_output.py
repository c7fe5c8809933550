"""The engine's output on a disk that is full for a while."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.output import LogOutput

PRINTER = """
from engine import output
output.install()
for line in range(2000):
    print("line", line, flush=True)
print("at the end", flush=True)
"""


def test_lines_go_out_whole_and_a_last_part_on_a_flush(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        output = LogOutput(file.fileno())
        print("first", "line", file=output)
        output.write("no end")
        assert (tmp_path / "log").read_text() == "first line\n"
        output.flush()
    assert (tmp_path / "log").read_text() == "first line\nno end"


def test_a_full_disk_costs_lines_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "log").open("wb") as file:
        output = LogOutput(file.fileno())
        with monkeypatch.context() as patch:

            def full(*_: object) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(os, "write", full)
            print("lost", file=output, flush=True)
        print("kept \udc80", file=output)
    said = (tmp_path / "log").read_text()
    assert "log truncated: disk full, 5 bytes lost" in said
    assert said.endswith("kept \\udc80\n")


@pytest.mark.mutant
@pytest.mark.parametrize(("guarded", "code"), [(True, 0), (False, 1)])
def test_mutant_a_plain_print_ends_the_process(tmp_path: Path, guarded: bool, code: int) -> None:
    script = PRINTER if guarded else PRINTER.replace("output.install()", "")
    limited = f"ulimit -f 8; exec {sys.executable} -P -c '{script}'"
    with (tmp_path / "log").open("wb") as log:
        ended = subprocess.run(["bash", "-c", limited], stdout=log, stderr=subprocess.DEVNULL, check=False)
    assert ended.returncode == code
