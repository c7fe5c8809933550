"""What all options share: strict types, no unknown keys, frozen once made, a sentence of help for every field."""

from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """Base of every options model. ``strict`` keeps `"3"` from becoming 3 and `true` from becoming 1.

    ``younger`` names the fields that are younger than runs which exist. At their defaults they leave everything as it
    was before them, and do not count among what decides a run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    younger: ClassVar[frozenset[str]] = frozenset()

    def deciding(self) -> dict[str, Any]:
        """The options as plain values, without younger ones at their defaults."""
        fields = type(self).model_fields
        kept = [name for name in fields if name not in self.younger or getattr(self, name) != fields[name].default]
        plain = self.model_dump(mode="json", include=set(kept))
        return {name: _deciding(getattr(self, name), plain[name]) for name in kept}


def _deciding(value: Any, plain: Any) -> Any:
    """``plain``, the JSON form of a field's ``value``, with the options within it reduced to what decides."""
    if isinstance(value, Options):
        return value.deciding()
    if isinstance(value, tuple):
        return [_deciding(entry, form) for entry, form in zip(value, plain, strict=True)]
    return plain


class Buildable(Options):
    """Options that name the function that builds from them, as ``"module:function"``, so that torch stays out of here.

    The builder takes these options first and has no defaults of its own.
    """

    builder: ClassVar[str]

    def resolve_builder(self) -> Callable[..., Any]:
        """Import the builder. This is where torch enters."""
        module, _, function = self.builder.partition(":")
        resolved: Callable[..., Any] = getattr(import_module(module), function)
        return resolved


def option(default: Any, help: str, unit: str = "", **bounds: Any) -> Any:
    """A field with its default (``...`` for required), one sentence of help, its unit, and pydantic's bounds."""
    return Field(default, description=help, json_schema_extra={"unit": unit} if unit else None, **bounds)


# A YAML sequence arrives as a list; options keep it as a tuple, so that what is frozen stays so.
Ints = Annotated[tuple[int, ...], Field(strict=False)]
Floats = Annotated[tuple[float, ...], Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
