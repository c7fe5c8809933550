"""Two configurations side by side: flattened to dotted keys, and where they differ. Pure functions of YAML text."""

from dataclasses import dataclass

from engine import strict_yaml
from engine.errors import UserError

Settings = dict[str, str]


@dataclass(frozen=True)
class Difference:
    """One key with its value in each configuration; None where a configuration lacks it."""

    key: str
    values: tuple[str | None, ...]


def flatten(config: str) -> Settings:
    """The settings of a resolved configuration by dotted key, in its order. Nothing when it cannot be read."""
    try:
        value = strict_yaml.parse(config, "config.yaml").value
    except UserError:
        return {}
    flat: Settings = {}
    _walk("", value, flat)
    return flat


def _walk(key: str, value: object, into: Settings) -> None:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            _walk(f"{key}.{name}" if key else str(name), item, into)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            _walk(f"{key}.{index}", item, into)
    else:
        into[key] = shown(value)


def shown(value: object) -> str:
    """A value as one would type it: `true`, `0.001`, `[4, 4, 3]`, `–` for nothing."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    return str(value)


def differences(settings: list[Settings], *, every: bool = False) -> list[Difference]:
    """Keys whose values differ (with ``every``: all keys), in the order of the first configuration that has them."""
    keys = dict.fromkeys(key for one in settings for key in one)
    rows = [Difference(key, tuple(one.get(key) for one in settings)) for key in keys]
    return [row for row in rows if every or len(set(row.values)) > 1]
