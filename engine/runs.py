"""The run folder, the only persistent state: its reader and its writer.

runs/20260131-142233-9f3a1c/  made with mkdir; no text of a person's is ever in a path; folders 0700, files 0600
  config.yaml                 the resolved experiment, never changed
  user.json                   name, tags, note, archived: all that a screen writes
  summary.json                all that a list needs, written by whoever owns the state
  lock                        byte 0 held by the supervisor, byte 1 by the engine; a start needs both
  attempts/NNN/               proc.json, env.json, exit.json, superseded.jsonl; the newest one decides the state
  metrics.jsonl               append only
  control/                    one file a request
  ckpt/  results/  log.txt  .reserve
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from engine import atomic, attempts, metrics_log, ownership, process, run_index, run_view, text, trash
from engine.attempts import Attempt
from engine.errors import UserError
from engine.metrics_log import MetricsTail, MetricsWriter
from engine.run_view import RUN_ID, RunView
from engine.verdict import ENDED, LIVE, PROMISE_S, STATES, State

__all__ = [
    "LIVE",
    "RUN_ID",
    "STATES",
    "Attempt",
    "MetricsTail",
    "MetricsWriter",
    "RunFolder",
    "RunView",
    "State",
    "SummaryWriter",
    "create",
    "delete",
    "find",
    "list_runs",
    "new_run_id",
    "runs_root",
    "undelete",
]

SCHEMA = 1
Request = Literal["pause", "continue", "checkpoint", "stop"]
REQUESTS_AT_ONCE = 100
NAME_LENGTH = 200
TAGS = 50
NOTE_LENGTH = 20_000
CONFIG_BYTES = 1 << 20
CHECKOUT_BYTES = 64 << 10
USER_LOCK_S = 2.0
TRASH_S = 30 * 86_400


def new_run_id() -> str:
    """Now in UTC and six random hex digits, so that ids sort by time across changes of the clock to summer and back."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(3).hex()}"


def create(root: Path, config_yaml: str, summary: dict[str, Any], user: dict[str, Any]) -> "RunFolder":
    """Make a run folder in ``root``, queued unless the summary says "starting".

    A run made as "starting" remembers the calling process, and counts as never started once that is gone.
    Raises UserError when the root cannot be written or is not ours.
    """
    folder = _make_folder(prepare_root(root))
    run = RunFolder(folder)
    for name in ("attempts", "control", "ckpt", "results"):
        (folder / name).mkdir(mode=0o700)
    os.close(os.open(folder / "lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    atomic.write_text(folder / "config.yaml", config_yaml)
    atomic.write_json(folder / "user.json", {"schema": SCHEMA, **_checked_user(user)})
    run.write_summary(**{"state": "queued", "launcher": process.Identity.current().to_json(), **summary, "attempt": 0})
    return run


def prepare_root(root: Path) -> Path:
    """Make the runs folder if it is missing, and close it to writing by others. Returns its path, free of links.

    Raises UserError when it cannot be made, is another user's, or is shared by all.
    """
    try:
        root = _without_links(root)
        ownership.make_private(root)
    except OSError as error:
        why = error.strerror
        raise UserError(f"the runs folder {root} cannot be used: {why}; give another one with --runs") from error
    return root


def _without_links(path: Path) -> Path:
    """The absolute path of what links lead to now: what is judged once is then used, wherever they lead later.

    Raises OSError for a link that may not be read, as some of /proc.
    """
    return Path(os.path.realpath(path))


def _make_folder(root: Path) -> Path:
    while True:
        folder = root / new_run_id()
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            why = error.strerror
            raise UserError(f"no run can be written to {root}: {why}; give another folder with --runs") from error
        return folder


class RunFolder:
    """One run on disk. Reading never raises for what a file holds; writing raises OSError when the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.id = path.name
        self.lock = process.Lock(self.path / "lock")

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def view(self) -> RunView:
        """The run as it is now."""
        return run_view.look(self.path)

    def config_text(self) -> str:
        """The resolved experiment as YAML, "" when there is none."""
        return self._read_tail("config.yaml", CONFIG_BYTES).decode("utf-8", "replace")

    def summary(self) -> dict[str, Any]:
        """summary.json as it is stored, uncleaned; {} where there is none to read."""
        return atomic.read_json(self.path / "summary.json") or {}

    def user(self) -> dict[str, Any]:
        """Name, tags, note and archived as they are stored, uncleaned."""
        return atomic.read_json(self.path / "user.json") or {}

    def set_user(self, **changes: Any) -> None:
        """Change any of name, tags, note, archived. Raises UserError for too long a text or a run that is not ours."""
        checked = _checked_user(changes)
        self.refuse_foreign()
        with self._user_lock(), run_index.changing(self.path):
            atomic.write_json(self.path / "user.json", {"schema": SCHEMA, **self.user(), **checked})

    def write_summary(self, **changes: Any) -> None:
        """Change fields of the summary; for the launcher and the supervisor while they own the state."""
        with run_index.changing(self.path):
            _stamp_and_write(self.path, {**self.summary(), **changes})

    def enqueue(self, by: str) -> None:
        """Put a run that has ended back into the queue; it waits until another attempt begins."""
        newest = self.newest_attempt()
        self.write_summary(state="queued", reason="", by=by, attempt=newest.number if newest else 0)

    def newest_attempt(self) -> Attempt | None:
        """The attempt that decides the state; None before the first start."""
        return attempts.newest(self.path)

    def new_attempt(self) -> Attempt:
        """Begin the next attempt with this process as its supervisor. The caller holds both bytes of the lock.

        Requests to the attempts before it are forgotten, so that an old "stop" does not stop this one.
        """
        for request in self._request_files():
            request.unlink(missing_ok=True)
        attempts.make_reserve(self.path)
        with run_index.changing(self.path):
            return attempts.begin(self.path, process.Identity.current())

    def request(self, kind: Request, by: str) -> str:
        """Ask the engine for something; it answers in metrics.jsonl with the id returned here."""
        if kind not in get_args(Request):
            raise ValueError(f"no such request: {kind}")
        self.refuse_foreign()
        request_id = f"{time.time_ns():020d}-{os.urandom(3).hex()}"
        order = {"request": kind, "id": request_id, "by": by, "time": time.time()}
        atomic.write_json(self.path / "control" / f"{request_id}.json", order)
        return request_id

    def take_requests(self) -> list[dict[str, Any]]:
        """Requests {request, id, by, time} that came since the last call, oldest first; only the engine takes them."""
        taken = []
        for path in self._request_files():
            order = atomic.read_json(path, limit=4096) or {}
            path.unlink(missing_ok=True)
            if order.get("request") in get_args(Request):
                taken.append({"by": "", **order, "id": path.stem})
        return taken

    def truncate_metrics(self, offset: int) -> int:
        """Cut metrics.jsonl at a checkpoint's offset, moving what lies past it to the newest attempt; returns how much.

        Raises ValueError when the file is shorter than the offset or the offset is inside a record.
        """
        attempt = self.newest_attempt()
        if attempt is None:
            raise ValueError(f"run {self.id} has no attempt")
        return metrics_log.set_aside(self.path / "metrics.jsonl", offset, attempt.path / "superseded.jsonl")

    def log_tail(self, size: int = 64 << 10) -> str:
        """The last lines of the engine's output within ``size`` bytes, cleaned."""
        data = self._read_tail("log.txt", size)
        if len(data) == size:
            data = data[data.find(b"\n") + 1 :]
        return text.clean(data.decode("utf-8", "replace"), newlines=True)

    def _read_tail(self, name: str, size: int) -> bytes:
        try:
            fd = atomic.open_regular(self.path / name, os.O_RDONLY)
        except OSError:
            return b""
        try:
            return os.pread(fd, size, max(0, os.fstat(fd).st_size - size))
        except OSError:
            return b""
        finally:
            os.close(fd)

    def _request_files(self) -> list[Path]:
        try:
            with os.scandir(self.path / "control") as entries:
                # A folder can neither be read as a request nor be unlinked: it would end the engine.
                names = sorted(
                    e.name for e in entries if e.name.endswith(".json") and not e.is_dir(follow_symlinks=False)
                )
        except OSError:
            return []
        return [self.path / "control" / name for name in names[:REQUESTS_AT_ONCE]]

    def results_folder(self, name: str) -> Path:
        """``results/NAME``, made if it is missing; but never a run folder that is gone. Raises OSError."""
        folder = self.path / "results" / name
        for level in (folder.parent, folder):
            level.mkdir(mode=0o700, exist_ok=True)
        return folder

    def refuse_foreign(self) -> None:
        """Raises UserError for a run that another user owns or can write to."""
        if not ownership.private(self.path):
            why = f"it or the folder {self.path.parent} belongs to another user or can be written by one"
            raise UserError(f"run {self.id} is read-only: {why}")

    @contextmanager
    def _user_lock(self) -> Iterator[None]:
        lock = process.Lock(self.path / "user.lock")
        deadline = time.monotonic() + USER_LOCK_S
        while not lock.acquire(0):
            if time.monotonic() > deadline:
                raise UserError(f"run {self.id} is being changed by another program; try again")
            time.sleep(0.01)
        try:
            yield
        finally:
            lock.release()


class SummaryWriter:
    """Writes the summary of the newest attempt for the engine, at most once a second unless asked at once.

    ``problem`` is a sentence while the disk has no room, else "". Other errors are raised.
    """

    INTERVAL_S = 1.0

    def __init__(self, path: Path) -> None:
        """``path`` is the summary.json of a run folder."""
        self._folder = path.parent
        attempt = attempts.newest(self._folder)
        self._attempt = attempt.number if attempt else 0
        self._due = 0.0
        self.problem = ""

    def write(self, summary: dict[str, Any]) -> None:
        """Write now, giving the reserve back for a run's last words."""
        self._due = time.monotonic() + self.INTERVAL_S
        try:
            _stamp_and_write(self._folder, {**summary, "attempt": self._attempt})
        except atomic.DiskFullError as error:
            self.problem = f"summary.json: {error.strerror}"
            return
        self.problem = ""

    def write_if_due(self, summary: dict[str, Any]) -> None:
        """Write unless less than a second has passed since the last time."""
        if time.monotonic() >= self._due:
            self.write(summary)


def _stamp_and_write(folder: Path, summary: dict[str, Any]) -> None:
    """Write summary.json with the signs of life that a reader measures silence by."""
    stamped = {
        "promise_s": PROMISE_S,
        **summary,
        "schema": SCHEMA,
        "heartbeat": time.time(),
        "monotonic": time.monotonic(),
    }
    if stamped.get("state") in ENDED:
        attempts.write_even_when_full(folder, folder / "summary.json", stamped)
    else:
        atomic.write_json(folder / "summary.json", stamped)


def list_runs(root: Path, *, archived: bool = False, limit: int | None = None) -> list[RunView]:
    """Views of the newest ``limit`` runs in ``root``, newest first, with ``archived`` those put away too.

    Never raises for a bad folder: it becomes a view with a problem.
    """
    index = run_index.of(root.absolute())
    views = index.views(run_names(root))
    chosen = list(islice((view for view in views if archived or not view.archived), limit))
    index.save()
    return chosen


def run_names(root: Path) -> list[str]:
    """Ids of the run folders in ``root``, newest first. Links, files and folders of other names are passed over."""
    try:
        with os.scandir(root) as entries:
            found = [e.name for e in entries if RUN_ID.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(found, reverse=True)


def find(root: Path, wanted: str) -> RunFolder:
    """The run that ``wanted`` means: an id, the beginning of one, "last", or a name.

    Raises UserError when no run fits or several do.
    """
    if not wanted.strip():
        raise UserError("no run is named: give an id, the beginning of one, a name, or last")
    root = root.absolute()
    names = run_names(root)
    if not names:
        raise UserError(f"there are no runs in {root}; start one with: cifar-tui --run quickstart")
    if wanted == "last":
        return RunFolder(root / names[0])
    matches = [name for name in names if name.startswith(wanted)]
    if not matches:
        matches = [view.id for view in list_runs(root, archived=True) if view.name == wanted]
    shown = text.shorten(text.clean(wanted), 60)
    if not matches:
        raise UserError(f"no run in {root} is called {shown!r}; see them with: cifar-tui --list")
    if len(matches) > 1:
        some = ", ".join(matches[:5]) + (", …" if len(matches) > 5 else "")
        raise UserError(f"{len(matches)} runs in {root} match {shown!r}: {some}; give one of these ids")
    return RunFolder(root / matches[0])


def runs_root(explicit: Path | None = None) -> Path:
    """Where runs live: ``explicit``, CIFAR_TUI_RUNS, ./runs in a checkout or with runs in it, or the user's data.

    Raises UserError when that is there and cannot be listed.
    """
    named = explicit or _usual_root()
    try:
        root = _without_links(named)
        with suppress(FileNotFoundError):
            os.scandir(root).close()
    except OSError as error:
        why = error.strerror
        raise UserError(f"the runs folder {named} cannot be read: {why}; give another one with --runs") from error
    return root


def _usual_root() -> Path:
    named = os.environ.get("CIFAR_TUI_RUNS", "")
    if named:
        return Path(os.path.expanduser(named))
    here = Path("runs")
    if _is_checkout(Path()) or run_names(here):
        return here
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return base / "cifar-tui" / "runs"


def _is_checkout(folder: Path) -> bool:
    try:
        return b'name = "cifar-tui"' in atomic.read_regular(folder / "pyproject.toml", CHECKOUT_BYTES, follow=True)
    except OSError:
        return False


def delete(run: RunFolder) -> str:
    """Put a run into the trash of its runs folder; returns the name by which it can be taken back.

    What has lain in the trash for thirty days is removed for good. Raises UserError when the run is in progress or not
    ours alone.
    """
    name = trash.discard(run.path)
    with suppress(OSError):
        trash.purge(run.path.parent, TRASH_S)
    return name


def undelete(root: Path, trashed: str) -> RunFolder:
    """Take a deleted run back. Raises UserError when it is not in the trash or its place is taken."""
    return RunFolder(trash.restore(root.absolute(), trashed))


def _checked_user(fields: dict[str, Any]) -> dict[str, Any]:
    """What a person may set in user.json, within its limits: beyond them UserError, and TypeError for other fields."""
    unknown = set(fields) - {"name", "tags", "note", "archived"}
    if unknown:
        raise TypeError(f"user.json has no field {sorted(unknown)}")
    if len(fields.get("name", "")) > NAME_LENGTH:
        raise UserError(f"the name has {len(fields['name'])} characters; at most {NAME_LENGTH} are kept")
    if len(fields.get("note", "")) > NOTE_LENGTH:
        raise UserError(f"the note has {len(fields['note'])} characters; at most {NOTE_LENGTH} are kept")
    tags = list(fields.get("tags", ()))
    if len(tags) > TAGS or any(len(tag) > NAME_LENGTH for tag in tags):
        raise UserError(f"a run has at most {TAGS} tags of at most {NAME_LENGTH} characters")
    return {**fields, **({"tags": tags} if "tags" in fields else {})}
