"""The keys of a flow that tell agents and programs how to call it."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from koco.manifest import agent_rules
from koco.manifest.parts import List, Name, Part, Plain

Protocol = Annotated[
    str,
    AfterValidator(agent_rules.check_protocol),
    Field(json_schema_extra={"enum": [*agent_rules.PROTOCOLS]}),
]


class Hints(Part):
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


class Example(Part):
    """One call of a flow, for agents to learn from."""

    summary: str = Field("", description="What is asked, in one line.")
    inputs: Plain = Field({}, description="The inputs.")
    result: Any = Field(None, description="The result of these inputs.")


_Network = Annotated[
    str,
    AfterValidator(agent_rules.check_network),
    Field(json_schema_extra={"enum": [*agent_rules.NETWORKS]}),
]
_Agent = Annotated[str, AfterValidator(agent_rules.check_agent_identifier)]
_Amount = Annotated[str, AfterValidator(agent_rules.check_amount)]


class Price(Part):
    """What one job costs, in one currency."""

    amount: _Amount = Field(
        description="The amount in the smallest unit, as text.", examples=["1000000"]
    )
    unit: str = Field(
        "lovelace",
        description="The currency: `lovelace`, or an asset's policy id and name in one.",
    )


class Mip003(Part):
    """A flow that Masumi's clients may call over MIP-003 or Sumi."""

    flow: Name = Field(description="The name of the flow, of this service.")
    agent_identifier: _Agent | None = Field(
        None,
        description="Its identifier in Masumi's registry. With it, a job is launched once it is "
        "paid; without it, jobs are free.",
    )
    network: _Network = Field("Preprod", description="The network on which it is registered.")
    price: List[Price] = Field(
        (),
        description="The registered price, which Sumi's list of services shows. The payment "
        "service knows what is to be paid.",
    )
    public: bool = Field(
        False,
        description="Whether callers without a key may use it. They act as the key that the "
        "control plane's setting `mip003_key` names.",
    )
