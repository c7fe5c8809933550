"""Where presets lie and how one is found by name: ./presets, the user's configuration, then those installed with us."""

import errno
import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from platformdirs import user_config_path

from engine import atomic, strict_yaml
from engine.errors import UserError

Kind = Literal["experiment", "architecture", "augmentation", "optimizer", "sweep"]
INGREDIENTS: tuple[Kind, ...] = ("architecture", "augmentation", "optimizer")
MAX_BYTES = 64 * 1024

_SUBFOLDER: dict[Kind, str] = {
    "experiment": "",
    "architecture": "architecture",
    "augmentation": "augmentation",
    "optimizer": "optimizer",
    "sweep": "sweeps",
}
_INSTALLED = Path(__file__).resolve().parent.parent / "presets"


@dataclass(frozen=True)
class Preset:
    """A preset file with the line that lists show beside its name."""

    kind: Kind
    name: str
    path: Path
    about: str


def user_folder() -> Path:
    """Folder of the user's own presets, whether or not it exists."""
    return user_config_path("cifar-tui") / "presets"


def folders(kind: Kind) -> list[Path]:
    """Folders that may hold presets of this kind; a name in an earlier one hides the same name in a later one."""
    roots = [Path("presets"), user_folder(), _INSTALLED]
    return [root / _SUBFOLDER[kind] for root in roots]


def names(kind: Kind) -> list[str]:
    """Names of all presets of this kind, sorted."""
    return sorted({path.stem for folder in folders(kind) if os.path.isdir(folder) for path in folder.glob("*.yaml")})


def locate(kind: Kind, text: str) -> Path:
    """The file that a person means: the path they gave, else the preset of that name. Raises UserError as ``find``."""
    path = Path(text)
    if os.path.exists(text) or path.suffix in {".yaml", ".yml"} or "/" in text:
        return path
    return find(kind, text)


def find(kind: Kind, name: str) -> Path:
    """Path of the preset called ``name``. Raises UserError with the nearest spelling when there is none."""
    if "/" not in name and "\0" not in name:
        for folder in folders(kind):
            path = folder / f"{name}.yaml"
            if os.path.isfile(path):  # unlike Path.is_file, False also for a name too long to be one
                return path
    near = get_close_matches(name, names(kind), n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(names(kind)) or 'none'}"
    raise UserError(f'no {kind} preset is called "{name}"; {hint}')


def read(path: Path) -> strict_yaml.Document:
    """Parse one preset file. Raises UserError when it is missing, not a file, too large, or not strict YAML."""
    try:
        data = atomic.read_regular(path, MAX_BYTES, follow=True)
    except (FileNotFoundError, ValueError):  # ValueError: a path with a NUL in it
        raise UserError(f"{path}: there is no such file; --list-presets shows the presets by name") from None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENXIO, errno.EISDIR):
            raise UserError(f"{path}: not a regular file; give a YAML file or a preset's name") from error
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    return strict_yaml.parse(data, str(path))


def catalogue(kind: Kind) -> list[Preset]:
    """All presets of a kind with their one-line descriptions; a broken file is listed with what is wrong with it."""
    return [_describe(kind, find(kind, name)) for name in names(kind)]


def _describe(kind: Kind, path: Path) -> Preset:
    try:
        value = read(path).value
    except UserError as error:
        return Preset(kind, path.stem, path, f"cannot be read: {error}")
    about = value.get("about") or value.get("notes") or "" if isinstance(value, dict) else ""
    return Preset(kind, path.stem, path, str(about).strip().partition("\n")[0])
