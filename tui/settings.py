"""What the program remembers of a person's choices: theme, columns, sort order. A file nobody needs to know of."""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import atomic, ownership

_LOG = logging.getLogger("cifar-tui")
_LONGEST = 64


class Settings:
    """Remembered values by name. One that is missing or of the wrong kind counts as never set."""

    def __init__(self, path: Path | None) -> None:
        """``path`` None remembers nothing beyond this process."""
        self._path = path
        self._writing = threading.Lock()
        self._writer: threading.Thread | None = None
        self._puts = 0
        self._values = (atomic.read_json(path) if path else None) or {}

    def text(self, name: str, default: str, allowed: Sequence[str] = ()) -> str:
        """A remembered word, one of ``allowed`` if there are any."""
        value = self._values.get(name)
        return value if isinstance(value, str) and (not allowed or value in allowed) else default

    def flag(self, name: str, default: bool) -> bool:
        value = self._values.get(name)
        return value if isinstance(value, bool) else default

    def names(self, name: str, default: Sequence[str]) -> tuple[str, ...]:
        """A remembered list of words."""
        value = self._values.get(name)
        if not isinstance(value, list) or len(value) > _LONGEST or not all(isinstance(item, str) for item in value):
            return tuple(default)
        return tuple(value)

    def put(self, **changes: str | bool | Sequence[str]) -> None:
        """Remember; a file that cannot be written is logged, and the choice holds until the program ends.

        A disk may take seconds to sync it, so a thread writes it, for whose end the program waits when it ends.
        """
        values = {name: value if isinstance(value, str | bool) else list(value) for name, value in changes.items()}
        self._values = {**self._values, **values}
        self._puts += 1
        if self._path is not None:
            self._writer = threading.Thread(target=self._write, args=(self._path, self._puts), name="settings")
            self._writer.start()

    def wait(self) -> None:
        """Return once what was put last is written."""
        if self._writer is not None:
            self._writer.join()

    def _write(self, path: Path, number: int) -> None:
        with self._writing:
            if number < self._puts:  # the thread of a later put, which waits for this one, writes all of it
                return
            try:
                ownership.make_private(path.parent)
                atomic.write_json(path, self._values)
            except OSError as error:
                _LOG.warning("%s cannot be written: %s", path, error)


def _folder(environ: Mapping[str, str], variable: str, usual: str) -> Path:
    named = environ.get(variable, "")
    return (Path(named) if named.startswith("/") else Path.home() / usual) / "cifar-tui"


def settings_file(environ: Mapping[str, str]) -> Path:
    """`settings.json` in `$XDG_CONFIG_HOME/cifar-tui`, by default `~/.config/cifar-tui`."""
    return _folder(environ, "XDG_CONFIG_HOME", ".config") / "settings.json"


def log_file(environ: Mapping[str, str]) -> Path:
    """`log.txt` in `$XDG_STATE_HOME/cifar-tui`, by default `~/.local/state/cifar-tui`."""
    return _folder(environ, "XDG_STATE_HOME", ".local/state") / "log.txt"
