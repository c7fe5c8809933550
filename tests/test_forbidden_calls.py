"""Nothing in the code base can be made to run what a file or another program says: looked up in the syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("engine", "tui") for path in (ROOT / folder).rglob("*.py"))
BUILTINS = {"eval", "exec", "compile", "__import__"}
MODULES = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "socketserver", "xmlrpc", "pty", "code", "asyncore"}
CALLS = {
    "os.system", "os.popen", "os.execl", "os.execlp", "os.spawnl", "subprocess.getoutput", "subprocess.getstatusoutput",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "pandas.read_pickle", "yaml.load", "yaml.safe_load",
    "yaml.unsafe_load", "yaml.full_load", "tempfile.mktemp",
}  # fmt: skip
NO_SOCKETS = {"socket.gethostname", "socket.getdefaulttimeout", "socket.setdefaulttimeout"}
RESTRICTED_UNPICKLER = "engine/data/cifar.py"  # refuses every class but NumPy's arrays; held by test_cifar


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an attribute or a name, "" of anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> object:
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def forbidden(tree: ast.AST) -> Iterator[str]:
    """What a module does that none of ours may do."""
    for node in ast.walk(tree):
        for module in imported(node):
            if module.partition(".")[0] in MODULES:
                yield f"imports {module}"
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "socket", "os", "subprocess"):
            yield from (f"imports {a.name} of {node.module}" for a in node.names if f"{node.module}.{a.name}" in CALLS)
            yield from ("imports from socket" for _ in node.names if node.module == "socket")
        if isinstance(node, ast.Attribute) and dotted(node).startswith("socket.") and dotted(node) not in NO_SOCKETS:
            yield f"uses {dotted(node)}"
        if isinstance(node, ast.Call):
            yield from forbidden_call(node)


def forbidden_call(call: ast.Call) -> Iterator[str]:
    name = dotted(call.func)
    if name in BUILTINS or name in CALLS:
        yield f"calls {name}"
    if keyword(call, "shell") is True:
        yield f"{name} with a shell"
    if name == "torch.load" and keyword(call, "weights_only") is not True:
        yield "torch.load of more than weights"
    if name.endswith("load") and keyword(call, "allow_pickle") is True:
        yield f"{name} of pickles"
    if name.startswith("subprocess.") and call.args and isinstance(call.args[0], ast.Constant | ast.JoinedStr):
        yield f"{name} of a command line in one text"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_no_shell_no_socket_no_code_from_text(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    allowed = {"calls pickle.Unpickler"} if str(path.relative_to(ROOT)) == RESTRICTED_UNPICKLER else set()
    assert set(forbidden(tree)) - allowed == set()


@pytest.mark.mutant
@pytest.mark.parametrize(
    "line",
    [
        "pickle.loads(data)",
        "from pickle import loads",
        "eval(text)",
        "subprocess.run(command, shell=True)",
        "subprocess.run('rm -r x')",
        "os.system('x')",
        "yaml.load(text)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file, allow_pickle=True)",
        "socket.socket()",
        "import marshal",
    ],
)
def test_each_of_these_would_be_found(line: str) -> None:
    assert list(forbidden(ast.parse(line)))


def test_no_worker_processes_that_could_be_killed_or_left_behind() -> None:
    """Data sets lie in memory, and the engine is one process."""
    found = {
        module
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for module in imported(node)
        if module.startswith(("multiprocessing", "torch.utils.data", "torch.multiprocessing"))
    }
    assert found == set()


def test_only_the_data_sets_and_their_check_reach_for_the_network() -> None:
    network = {"urllib", "http", "requests", "ftplib", "smtplib"}
    found = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for module in imported(node)
        if module.partition(".")[0] in network
    }
    assert found <= {"engine/data/download.py", "tui/preflight.py"}
