"""What all options share: strict types, no unknown keys, frozen once made, a sentence of help for every field."""

from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """Base of every options model. ``strict`` keeps `"3"` from becoming 3 and `true` from becoming 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


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
