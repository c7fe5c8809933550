"""The command line: what it takes, what it refuses and with which words, and what it leaves unimported."""

import errno
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from engine import __version__
from engine.errors import UserError
from tui import cli, modifiers, options

HEAVY = ("torch", "numpy", "torchvision", "textual", "rich", "plotext", "pydantic", "yaml", "msgspec", "psutil")


def python(code: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def cifar_tui(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return python("import sys; from tui.cli import main; sys.exit(main())", *arguments, stdin=stdin)


@pytest.mark.parametrize("entry", [*options.COMMANDS, *modifiers.MODIFIERS], ids=lambda entry: entry.flag)
def test_the_example_of_every_option_is_accepted(entry: options.Command | modifiers.Modifier) -> None:
    words = shlex.split(entry.example.partition(" > ")[0])
    assert words[0] == "cifar-tui"
    assert any(word.split("=")[0] == entry.flag for word in words)
    cli.parse(words[1:])


def test_help_ends_every_option_with_an_example() -> None:
    text = cli.build_parser().format_help()
    flags = [entry.flag for entry in (*options.COMMANDS, *modifiers.MODIFIERS)]
    assert all(flag in text for flag in flags)
    assert text.count("e.g. cifar-tui") == len(flags) + 2  # --version and --help too


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import sys
from tui.cli import main
try:
    main(["--help"])
except SystemExit as leaving:
    assert leaving.code == 0
print("imported:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    assert python(code).stdout.rstrip().endswith("imported: []")


def test_every_handler_exists() -> None:
    from importlib import import_module

    for command in options.COMMANDS:
        module, _, function = command.handler.partition(":")
        assert callable(getattr(import_module(module), function))


def test_every_modifier_belongs_to_something() -> None:
    used = {flag for command in options.COMMANDS for flag in command.modifiers}
    used |= {*options.EVERYWHERE, *options.APP_MODIFIERS}
    assert used == {modifier.flag for modifier in modifiers.MODIFIERS}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"cifar-tui {__version__}\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--rnu quickstart", "--rnu is not an option; did you mean --run?"),
        ("quickstart", '"quickstart" is no option; to train a preset: cifar-tui --run quickstart'),
        ("--run", "--run: expected one argument; cifar-tui --help lists the options"),
        ("--run a --list", "--run and --list cannot be asked for at once; give one"),
        ("--list --detach", "--detach goes with --run, --resume, --sweep, not with --list"),
        ("--format csv", "--format goes with --export, not with the terminal app"),
        ("--compare a", "--compare: expected 2 arguments; cifar-tui --help lists the options"),
        ("--run q --seed x", "--seed: expected a whole number from 0, found 'x'; cifar-tui --help lists the options"),
        ("--run q --seed -1", "--seed: expected a whole number from 0, found '-1'; cifar-tui --help lists the options"),
        ("--list --runs ~none/x", "--runs: there is no home folder for '~none'; cifar-tui --help lists the options"),
        ("--fps 0", "--fps: expected a number above 0 and at most 30, found '0'; cifar-tui --help lists the options"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(shlex.split(line)) == 2
    printed = capsys.readouterr()
    assert printed.err == f"cifar-tui: {message}\n"
    assert printed.out == ""


def test_queue_goes_alone_or_with_run() -> None:
    command, args = cli.parse(["--queue"])
    assert command is not None
    assert (command.flag, args.queue) == ("--queue", "show")
    command, args = cli.parse(["--run", "quickstart", "--queue", "--seed", "3"])
    assert command is not None
    assert (command.flag, args.seed) == ("--run", 3)


def test_a_filter_may_begin_with_a_minus() -> None:
    _, args = cli.parse(["--list", "-note:debug"])
    assert args.list == "-note:debug"


def test_set_is_repeatable() -> None:
    _, args = cli.parse(["--run", "q", "--set", "a=1", "--set", "b=-2"])
    assert args.set == ["a=1", "b=-2"]


def test_without_a_terminal_the_app_refuses_at_once() -> None:
    result = cifar_tui()
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("cifar-tui: the terminal app needs a terminal; --run")
    assert "\x1b" not in result.stderr


def test_escape_sequences_in_a_mistake_are_not_passed_on() -> None:
    result = cifar_tui("--run", "\x1b]52;c;aGk=\x07evil")
    assert result.returncode == 2
    assert "\x1b" not in result.stderr
    assert "\x07" not in result.stderr


def test_a_user_without_a_home_folder_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert cli.main(["--list"]) == 2
    assert "set HOME" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    code = "import os, sys; from tui.cli import main; r, w = os.pipe(); os.close(r); os.dup2(w, 1); sys.exit(main())"
    result = python(code, "--list", "--runs", str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")


def test_closed_standard_output_is_no_error(tmp_path: Path) -> None:
    code = "import sys; sys.stdout = None; from tui.cli import main; sys.exit(main())"
    result = python(code, "--list", "--runs", str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", [(), ("--run", "-")], ids=["app", "stdin"])
def test_whatever_is_closed_a_mistake_is_a_mistake(tmp_path: Path, closed: str, arguments: tuple[str, ...]) -> None:
    code = "import sys; from tui.cli import main; sys.exit(main())"
    line = f'exec "$@" {closed}'
    command = ["sh", "-c", line, "sh", sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("cifar-tui: ") or "2>&-" in closed
    assert result.stderr.count("\n") <= 1


def test_no_file_takes_the_number_of_a_closed_stream() -> None:
    code = "import os; from tui import cli; cli._open_closed_streams(); print(os.open('/dev/null', 0) > 2)"
    line = 'exec "$@" <&- 2>&-'
    command = ["sh", "-c", line, "sh", sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout == "True\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize(
    ("stream", "arguments", "code", "said"),
    [
        ("stdout", ("--list",), 1, "cifar-tui: the system: No space left on device\n"),
        ("stdout", ("--version",), 0, ""),
        ("stderr", ("--run", "nothing-of-this-name"), 2, ""),
    ],
)
def test_a_full_disk_under_the_output_is_no_traceback(
    tmp_path: Path, stream: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    command = [sys.executable, "-c", "import sys; from tui.cli import main; sys.exit(main())", *arguments]
    with Path("/dev/full").open("w") as full:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        result = subprocess.run(command, **streams, text=True, timeout=60, check=False, cwd=tmp_path)  # type: ignore[call-overload]
    assert (result.returncode, result.stderr or "") == (code, said)


def test_a_folder_that_is_gone_beneath_us_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = "import os, sys; os.chdir(sys.argv.pop()); os.rmdir(os.getcwd()); from tui.cli import main; sys.exit(main())"
    result = python(code, "--list", str(tmp_path / "gone"))
    assert result.returncode == 2
    assert result.stderr.startswith("cifar-tui: the folder you are in cannot be found")


@pytest.mark.parametrize("arguments", [("--list",), ("--show", "last"), ("--run", "quickstart"), ("--queue",)])
def test_a_runs_folder_that_cannot_be_read_is_a_mistake(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    file = tmp_path / "file"
    assert cli.main([*arguments, "--runs", str(file)]) == 2
    said = f"the runs folder {file} cannot be read: Not a directory; give another one with --runs"
    assert capsys.readouterr().err == f"cifar-tui: {said}\n"


def test_several_problems_come_one_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(arguments: list[str]) -> int:
        raise UserError("first\nsecond")

    monkeypatch.setattr(cli, "_dispatch", refuse)
    assert cli.main([]) == 2
    assert capsys.readouterr().err == "cifar-tui: first\nsecond\n"


def test_trouble_with_the_system_is_a_sentence_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(arguments: list[str]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/runs/x")

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.main([]) == 1
    assert capsys.readouterr().err == "cifar-tui: /runs/x: No space left on device\n"
