"""The command ``cifar-tui``: reads the command line, hands on to one command, and turns its outcome into an exit code.

Only argparse is imported before a command is known: ``--help`` answers in the time Python takes to start.
"""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn, TextIO

from engine import __version__
from engine.errors import UserError
from tui import glyphs, gnu_screen, modifiers, options

EXIT_FAILED = 1
EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130
STDERR = 2

_ABOUT = "A CIFAR laboratory in the terminal. Without options it opens the terminal app."
_EXIT_CODES = """\
exit codes:
  0 finished, 1 failed, diverged or crashed, 2 a mistake in what was asked,
  130 stopped by Ctrl-C, 143 stopped by somebody else

RUN is an id, the beginning of one, a name, or "last"."""


class _Parser(argparse.ArgumentParser):
    """argparse with this program's way of saying what is wrong: one sentence, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')}; cifar-tui --help lists the options")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the example of an option on a line of its own, unbroken, so that it can be copied."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24)

    def _split_lines(self, text: str, width: int) -> list[str]:
        sentence, _, example = text.rpartition("\n")
        return [*super()._split_lines(sentence, width), example]


def build_parser() -> argparse.ArgumentParser:
    """The parser of all options, made from the tables in ``tui.options`` and ``tui.modifiers``."""
    parser = _Parser(
        prog="cifar-tui",
        description=_ABOUT,
        epilog=_EXIT_CODES,
        usage="cifar-tui [COMMAND] [OPTIONS]",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    for title, commands in (
        ("train", options.TRAIN),
        ("look", options.LOOK),
        ("analyse", options.ANALYSE),
        ("manage", options.MANAGE),
    ):
        group = parser.add_argument_group(title)
        for command in commands:
            _add_command(group, command)
    group = parser.add_argument_group("options")
    for modifier in modifiers.MODIFIERS:
        _add_modifier(group, modifier)
    version = f"cifar-tui {__version__}"
    group.add_argument("--version", action="version", version=version, help=_help("print the version", "--version"))
    group.add_argument("--help", "-h", action="help", help=_help("print this help", "--help"))
    return parser


def _help(text: str, example: str) -> str:
    shown = example if "cifar-tui" in example else f"cifar-tui {example}"
    return f"{text}\ne.g. {shown}".replace("%", "%%")


def _add_command(group: argparse._ArgumentGroup, command: options.Command) -> None:
    text = _help(command.help, command.example)
    if command.nargs == 0:
        group.add_argument(command.flag, dest=command.dest, action="store_const", const=True, help=text)
        return
    group.add_argument(
        command.flag,
        dest=command.dest,
        metavar=command.metavar,
        nargs=command.nargs,
        const=command.const,
        choices=command.choices,
        help=text,
    )


def _add_modifier(group: argparse._ArgumentGroup, modifier: modifiers.Modifier) -> None:
    text = _help(modifier.help, modifier.example)
    if modifier.metavar is None:
        group.add_argument(modifier.flag, dest=modifier.dest, action="store_const", const=True, help=text)
        return
    group.add_argument(
        modifier.flag,
        dest=modifier.dest,
        metavar=modifier.metavar,
        action="append" if modifier.repeat else "store",
        nargs="?" if modifier.const else None,
        const=modifier.const,
        type=modifier.type,
        choices=modifier.choices,
        help=text,
    )


def parse(arguments: Sequence[str]) -> tuple[options.Command | None, argparse.Namespace]:
    """The one command that is asked for (None: the terminal app) with all arguments. Raises UserError."""
    args, unknown = build_parser().parse_known_args(_with_filter(arguments))
    if unknown:
        raise UserError(_unknown(unknown[0]))
    command = _chosen(args)
    allowed = {*(command.modifiers if command else options.APP_MODIFIERS), *options.EVERYWHERE}
    for modifier in modifiers.MODIFIERS:
        if getattr(args, modifier.dest) is not None and modifier.flag not in allowed:
            raise UserError(_misplaced(modifier, command))
    return command, args


def _with_filter(arguments: Sequence[str]) -> list[str]:
    """``--list -note:debug``: a filter may begin with a minus, which argparse takes for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--list" and argument.startswith("-") and not argument.startswith("--"):
            joined[-1] = f"--list={argument}"
        else:
            joined.append(argument)
    return joined


def _chosen(args: argparse.Namespace) -> options.Command | None:
    chosen = [command for command in options.COMMANDS if getattr(args, command.dest) is not None]
    flags = [command.flag for command in chosen]
    if flags in (["--run", "--queue"], ["--resume", "--queue"]):
        return chosen[0]
    if len(chosen) > 1:
        raise UserError(f"{flags[0]} and {flags[1]} cannot be asked for at once; give one")
    return chosen[0] if chosen else None


def _unknown(argument: str) -> str:
    if not argument.startswith("-"):
        return f'"{argument}" is no option; to train a preset: cifar-tui --run {argument}'
    flag = argument.partition("=")[0]
    known = [entry.flag for entry in (*options.COMMANDS, *modifiers.MODIFIERS)]
    near = get_close_matches(flag, [*known, "--version", "--help"], n=1)
    hint = f"did you mean {near[0]}?" if near else "cifar-tui --help lists the options"
    return f"{flag} is not an option; {hint}"


def _misplaced(modifier: modifiers.Modifier, command: options.Command | None) -> str:
    homes = [entry.flag for entry in options.COMMANDS if modifier.flag in entry.modifiers]
    place = "the terminal app" if command is None else command.flag
    return f"{modifier.flag} goes with {', '.join(homes)}, not with {place}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``cifar-tui``; returns the exit code."""
    _open_closed_streams()
    _survive_any_text(sys.stdout)
    _survive_any_text(sys.stderr)
    try:
        return _outcome(sys.argv[1:] if arguments is None else arguments)
    finally:
        _forget_what_cannot_be_written()


def _outcome(arguments: Sequence[str]) -> int:
    """The exit code; what went wrong is said."""
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except UserError as error:
        _complain(str(error))
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 0
    except OSError as error:  # a full disk, a folder that vanished: nothing that a traceback would explain better
        _complain(f"{error.filename or 'the system'}: {error.strerror or error}")
        return EXIT_FAILED
    return code


def _dispatch(arguments: Sequence[str]) -> int:
    command, args = parse(arguments)
    if os.path.expanduser("~") == "~":
        raise UserError("this user has no home folder; set HOME to a folder for settings and caches")
    _refuse_lost_folder()
    glyphs.choose(utf8=not args.ascii and _writes_utf8(sys.stdout))
    gnu_screen.forget_outer_colours(os.environ)
    if command is None:
        return _open_app(args)
    module, _, function = command.handler.partition(":")
    code: int = getattr(import_module(module), function)(args)
    return code


def _refuse_lost_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(f"the folder you are in cannot be found ({error.strerror}); change to another one") from error


def _open_app(args: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("the terminal app needs a terminal; --run trains without one, --list shows the runs")
    if os.environ.get("TERM") == "dumb":
        raise UserError("the terminal app needs more than TERM=dumb; --run trains in any terminal")
    gc.disable()  # until the first screen is seen: what is imported and mounted lives as long as the program
    app = import_module("tui.app")
    code: int = app.run(runs=args.runs, data=args.data, fps=args.fps, lite=bool(args.lite), ascii_only=bool(args.ascii))
    return code


def _complain(sentence: str) -> None:
    from engine.text import clean

    lines = clean(sentence, newlines=True).splitlines() or [""]
    with suppress(OSError):  # a full disk: the exit code says the rest
        print(f"cifar-tui: {lines[0]}", *lines[1:], sep="\n", file=sys.stderr)


def _open_closed_streams() -> None:
    """Python has no stream at all for a descriptor that was closed before it started (`>&-`).

    The next file to be opened would take its number, and with it whatever a library prints.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _survive_any_text(stream: TextIO) -> None:
    """A name that the terminal's encoding lacks is printed as an escape, not as a traceback."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _writes_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def _forget_what_cannot_be_written() -> None:
    """Whoever read our output has left, or its disk is full: nothing may fail when Python flushes at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
