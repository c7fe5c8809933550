"""Looked up in the syntax trees: nothing in the code base can be made to run what a file or another program says, and
each protection has one place that owns it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = sorted(path for folder in ("engine", "tui") for path in (ROOT / folder).rglob("*.py"))
SOURCES = [*PROGRAM, *sorted((ROOT / "benchmarks").rglob("*.py"))]
BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint"}
MODULES = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "socketserver", "xmlrpc", "code", "asyncore", "runpy"}
NAMES = re.compile(
    r"os\.(system|popen|exec[lv]\w*|spawn\w+|posix_spawnp?)|subprocess\.get(status)?output|pty\.spawn"
    r"|asyncio\.(create_subprocess_shell|start_\w*server|open_\w*connection)"
    r"|_?pickle\.(loads?|Unpickler)|pandas\.read_pickle|torch\.(hub|package|jit\.load|export\.load)\b.*"
    r"|yaml\.\w*load(_all)?|yaml\.YAMLObject|tempfile\.mktemp|ctypes\.(CDLL|cdll)\.\w+|socket\..+"
)
ALLOWED = {
    "engine/data/cifar.py": {"pickle.Unpickler"},  # refuses every class but NumPy's arrays; held by test_cifar
    "tui/screens/base.py": {"socket.gethostname"},
    "tui/screens/queue.py": {"socket.gethostname"},
    "engine/data/download.py": {"socket.getdefaulttimeout", "socket.setdefaulttimeout"},
    # A terminal's child, which becomes the program that is tried in it.
    "benchmarks/pty_terminal.py": {"os.execvpe"},
    "benchmarks/terminal_plot.py": {"os.execv"},
    "benchmarks/torture/terminal.py": {"os.execv"},
    # The script that whoever compares us with it has named.
    "benchmarks/replay.py": {"compile", "exec"},
}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def aliases(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: ``sp`` for subprocess, ``load`` for yaml.load."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """``a.b.c`` of an attribute or a name, as it was imported; "" of anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules, and what is taken out of them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forbidden(tree: ast.AST) -> Iterator[str]:
    """What a module does that none of ours may do."""
    names = aliases(tree)
    yield from (module for module in imported(tree) if module.partition(".")[0] in MODULES or NAMES.fullmatch(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            name = dotted(node, names)
            if name in BUILTINS or name.removeprefix("builtins.") in BUILTINS or NAMES.fullmatch(name):
                yield name
        if isinstance(node, ast.Call):
            yield from forbidden_arguments(node, dotted(node.func, names))


def forbidden_arguments(call: ast.Call, name: str) -> Iterator[str]:
    given = {k.arg: k.value.value if isinstance(k.value, ast.Constant) else ... for k in call.keywords}
    if given.get("shell", False) is not False:
        yield f"{name} with a shell"
    if given.get("allow_pickle", False) is not False:
        yield f"{name} of pickles"
    if name == "torch.load" and given.get("weights_only") is not True:
        yield "torch.load of more than weights"
    if name.startswith("subprocess.") and call.args and isinstance(call.args[0], ast.Constant | ast.JoinedStr):
        yield f"{name} of a command line in one text"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_pickle_no_shell_no_socket_no_code_from_text(path: Path) -> None:
    assert set(forbidden(tree_of(path))) - ALLOWED.get(name_of(path), set()) == set()


@pytest.mark.mutant
@pytest.mark.parametrize(
    "line",
    [
        "pickle.loads(data)",
        "from pickle import loads",
        "import pickle as p; p.Unpickler(file).load()",
        "from pickle import Unpickler as Reader",
        "eval(text)",
        "import builtins; builtins.exec(text)",
        "values = map(eval, texts)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=wanted)",
        "import subprocess as sp; sp.run('rm -r x')",
        "from subprocess import run; run('rm -r x')",
        "subprocess.run('rm -r x')",
        "os.system('x')",
        "from os import system as say",
        "os.execvp(command[0], command)",
        "os.posix_spawn(path, command, os.environ)",
        "asyncio.create_subprocess_shell(text)",
        "yaml.load(text)",
        "from yaml import safe_load as read",
        "yaml.unsafe_load_all(text)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "torch.load(file, weights_only=wanted)",
        "from torch import load; load(file)",
        "torch.hub.load_state_dict_from_url(url)",
        "torch.jit.load(file)",
        "np.load(file, allow_pickle=True)",
        "np.load(file, allow_pickle=wanted)",
        "socket.socket()",
        "from socket import create_server",
        "import socket as s; s.create_connection(address)",
        "import marshal",
        "tempfile.mktemp()",
    ],
)
def test_each_of_these_would_be_found(line: str) -> None:
    assert list(forbidden(ast.parse(line)))


def test_nothing_is_allowed_that_is_not_done() -> None:
    assert {name: set(forbidden(tree_of(ROOT / name))) for name in ALLOWED} == ALLOWED


# What is done in one place, and where: the protections, and the few beside them that need none of it.
OWNED = {
    "strict YAML": (re.compile(r"yaml\..+"), {"engine/strict_yaml.py"}),
    "checkpoints": (re.compile(r"torch\.(load|save)|safetensors\..+"), {"engine/checkpoint.py"}),
    "files that replace others": (
        re.compile(r"os\.(replace|link)"),
        {"engine/atomic.py", "tui/own_log.py"},  # the log before this one is set aside
    ),
    "files that are synced": (re.compile(r"os\.(fsync|fdatasync)"), {"engine/atomic.py", "engine/metrics_log.py"}),
    "folders that move": (re.compile(r"os\.renames?"), {"engine/attempts.py", "engine/trash.py"}),
    "files opened for writing": (
        re.compile(r"os\.(O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND)"),
        {
            "engine/atomic.py",
            "engine/process.py",  # locks
            # what is appended to, through atomic.open_regular
            "engine/attempts.py",
            "engine/data/download.py",
            "engine/metrics_log.py",
            "engine/queue.py",
            "engine/run_index.py",
            "engine/runs.py",
            "engine/supervisor.py",
            "tui/own_log.py",
            # /dev/null in place of closed streams
            "tui/cli.py",
            "tui/headless/show.py",
        },
    ),
    "links not followed": (
        re.compile(r"os\.O_NOFOLLOW"),
        {"engine/atomic.py", "engine/process.py", "engine/trash.py"},
    ),
    "owners and modes": (
        re.compile(r"os\.(geteuid|chmod|fchmod|lchmod|chown|lchown)|stat\.S_I[WRX]\w+"),
        {"engine/ownership.py", "engine/run_index.py", "tui/commands/run.py"},  # of its cache; a name without passwd
    ),
    "signals": (
        re.compile(r"os\.kill(pg)?|signal\.pidfd_send_signal"),
        {"engine/process.py", "engine/supervisor.py"},  # to its own children, which stay zombies until it reaps them
    ),
    "who lives": (re.compile(r"psutil\.(pid_exists|pids)|os\.getpgid|os\.getsid"), set()),
    "locks": (re.compile(r"fcntl\.(lockf|flock)"), {"engine/process.py", "engine/data/download.py"}),
    "removal of trees": (
        re.compile(r"shutil\.(rmtree|move|copy\w*)"),
        {"engine/data/download.py", "engine/analysis/bn_study.py"},
    ),
}
ESCAPES = {"engine/text.py", "tui/sgr.py", "tui/terminal_input.py"}  # cleaned; our own shortened; keys told apart


@pytest.mark.parametrize("protection", OWNED)
def test_each_protection_has_one_owner(protection: str) -> None:
    pattern, owners = OWNED[protection]
    assert {name_of(path) for path in PROGRAM if any(uses(tree_of(path), pattern))} == owners


def uses(tree: ast.AST, pattern: re.Pattern[str]) -> Iterator[str]:
    return filter(pattern.fullmatch, named_in(tree))


@cache
def named_in(tree: ast.AST) -> list[str]:
    """Everything that a module imports or names, in full."""
    names = aliases(tree)
    named = (dotted(node, names) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute))
    return [*imported(tree), *named]


def test_files_are_written_by_their_owner_alone() -> None:
    found = {name_of(path): set(written(tree_of(path))) for path in PROGRAM}
    assert {name: ways for name, ways in found.items() if ways} == {
        "engine/atomic.py": {"write_bytes"},
        "engine/preset_schema.py": {"write_text"},  # part of the source tree, as readable as that
        "tui/cli.py": {"open for writing"},  # /dev/null in place of closed streams
        "engine/data/download.py": {"open for writing", "rename"},  # the locked file; a whole folder into place
        "engine/attempts.py": {"unlink"},
        "engine/checkpoint.py": {"unlink"},
        "engine/runs.py": {"unlink"},
    }


def written(tree: ast.AST) -> Iterator[str]:
    """Ways to write, move or remove files that no module but `engine.atomic` has."""
    names = aliases(tree)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = dotted(call.func, names)
        owner, _, method = name.rpartition(".")
        if method in ("write_text", "write_bytes") and owner not in ("atomic", "engine.atomic"):
            yield method
        if method in ("rename", "unlink", "touch", "symlink_to", "hardlink_to", "rmdir") and owner != "os":
            yield method
        if method in ("makedirs", "mkdir") and any(keyword.arg == "parents" for keyword in call.keywords):
            yield "folders above with the modes of the umask"  # engine.ownership.make_folder gives them 0700
        if method == "makedirs":
            yield method
        if method in ("open", "fdopen") and owner != "os" and is_writing(call):
            yield "open for writing"
        if method in ("NamedTemporaryFile", "FileHandler", "RotatingFileHandler", "savetxt", "tofile"):
            yield method


def is_writing(call: ast.Call) -> bool:
    modes = [*call.args[:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
    return any(re.fullmatch(r"[rwxabt+]*[wxa+][rwxabt+]*", text) for text in texts)


def test_escape_sequences_are_known_in_one_place() -> None:
    """A second cleaner would be a worse one."""
    assert {name_of(path) for path in PROGRAM if looks_for_escapes(tree_of(path))} == ESCAPES


def looks_for_escapes(tree: ast.AST) -> bool:
    names = aliases(tree)
    patterns = [
        text.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and dotted(call.func, names).startswith("re.")
        for text in ast.walk(call)
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
    ]
    return any(sign in text for text in patterns for sign in (r"\x1b", "\x1b", r"\033", r"\x9b"))


@pytest.mark.mutant
@pytest.mark.parametrize(
    "line",
    [
        "Path('x').write_text('y')",
        "path.write_bytes(data)",
        "open(path, 'w')",
        "open(path, mode='xb')",
        "path.open('a')",
        "with open(path, 'r+b') as file: pass",
        "path.rename(other)",
        "path.unlink()",
        "path.mkdir(mode=0o700, parents=True)",
        "os.makedirs(path)",
        "from os import makedirs; makedirs(path)",
        "logging.FileHandler(path)",
        "tempfile.NamedTemporaryFile()",
    ],
)
def test_each_way_to_write_would_be_found(line: str) -> None:
    assert list(written(ast.parse(line)))


@pytest.mark.mutant
@pytest.mark.parametrize(
    ("protection", "line"),
    [
        ("strict YAML", "import yaml; yaml.parse(text)"),
        ("strict YAML", "from yaml import CLoader"),
        ("checkpoints", "from torch import save as keep"),
        ("files that replace others", "import os as system; system.replace(a, b)"),
        ("owners and modes", "os.chmod(path, 0o777)"),
        ("signals", "from os import kill"),
        ("who lives", "psutil.pid_exists(pid)"),
        ("locks", "fcntl.flock(file, 2)"),
        ("removal of trees", "from shutil import rmtree"),
    ],
)
def test_each_second_owner_would_be_found(protection: str, line: str) -> None:
    assert list(uses(ast.parse(line), OWNED[protection][0]))


def test_no_worker_processes_that_could_be_killed_or_left_behind() -> None:
    """Data sets lie in memory, and the engine is one process."""
    workers = ("multiprocessing", "torch.utils.data", "torch.multiprocessing", "concurrent.futures.ProcessPool")
    assert {module for path in PROGRAM for module in imported(tree_of(path)) if module.startswith(workers)} == set()


def test_only_the_data_sets_and_their_check_reach_for_the_network() -> None:
    network = {"urllib", "http", "requests", "ftplib", "smtplib", "ssl", "socket", "aiohttp", "httpx"}
    found = {
        name_of(path)
        for path in PROGRAM
        for module in imported(tree_of(path))
        if module.partition(".")[0] in network and "socket" not in module
    }
    assert found == {"engine/data/download.py", "tui/preflight.py"}
