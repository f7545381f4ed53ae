"""What the models of a manifest's keys have in common: their base, and types that several use."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

from koco.manifest import rules

T = TypeVar("T")


def pattern(text: str) -> Any:
    """Return the metadata for a pattern that only editors check."""
    return Field(json_schema_extra={"pattern": text})


# Data from YAML and JSON has lists in place of tuples. Only the outer type is lenient.
List = Annotated[tuple[T, ...], Strict(False)]
Name = Annotated[str, AfterValidator(rules.check_name), pattern(rules.NAME)]
Plain = Annotated[dict[str, Any], AfterValidator(rules.check_free_values)]


class Part(BaseModel):
    """A mapping of known keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
