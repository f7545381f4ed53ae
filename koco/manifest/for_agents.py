"""The keys of a flow that tell agents and programs how to call it."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from koco.manifest import agent_rules, rules
from koco.manifest.descriptions import EXPOSED


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Plain = Annotated[dict[str, Any], AfterValidator(rules.check_free_values)]
Protocol = Annotated[
    str,
    AfterValidator(agent_rules.check_protocol),
    Field(json_schema_extra={"enum": [*agent_rules.PROTOCOLS]}),
]
#: The protocols of a flow that names none.
DEFAULT = EXPOSED


class Hints(_Part):
    """What calling a flow does. It is advice for agents; koco enforces none of it."""

    read_only: bool | None = Field(None, description="Whether it changes nothing.")
    destructive: bool | None = Field(
        None, description="Whether it may delete or overwrite something."
    )
    idempotent: bool | None = Field(
        None, description="Whether a second call with the same inputs changes nothing more."
    )
    open_world: bool | None = Field(
        None, description="Whether it reaches systems outside, such as the web."
    )


class Example(_Part):
    """One call of a flow, for agents to learn from."""

    summary: str = Field("", description="What is asked, in one line.")
    inputs: Plain = Field({}, description="The inputs.")
    result: Any = Field(None, description="The result of these inputs.")
