"""A manifest's keys: their types, defaults and meaning.

Types are strict: `"3"` is no number, `true` neither, `1.0` no text. What joins
several keys (`runner.max` ≥ `runner.min`, unique names) is checked by `load`,
which reports it along with everything else.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

from koco.manifest import rules

# Data comes from YAML and JSON, which know lists only; nothing but the outer type is lenient.
_Lenient = Strict(False)

_Name = Annotated[str, AfterValidator(rules.name), Field(json_schema_extra={"pattern": rules.NAME})]
_Entrypoint = Annotated[
    str, AfterValidator(rules.entrypoint), Field(json_schema_extra={"pattern": rules.ENTRYPOINT})
]
_EnvName = Annotated[str, AfterValidator(rules.env_name)]
_EnvValue = Annotated[str, AfterValidator(rules.env_value)]
_LockName = Annotated[str, AfterValidator(rules.lock_name)]
_Tag = Annotated[str, Field(min_length=1)]
_Tags = Annotated[tuple[_Tag, ...], _Lenient]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Flow(_Part):
    """An automated process that a user can launch."""

    name: _Name = Field(description="The flow's name, unique in its service.")
    entrypoint: _Entrypoint = Field(
        description="The Python callable that does the work: `module:object`.",
        examples=["hello.app:greet"],
    )
    summary: str = Field("", description="What the flow does, in one line.")
    description: str = Field("", description="What the flow does, at length, in Markdown.")
    inputs: Annotated[tuple[dict[str, Any], ...], _Lenient] | None = Field(
        None,
        description="The elements of the form that launches the flow. "
        "Left out, the form is made from the entrypoint's signature.",
    )


class Runtime(_Part):
    """What the code needs around it."""

    files: Annotated[
        tuple[Annotated[str, AfterValidator(rules.pattern)], ...], _Lenient, Field(min_length=1)
    ] = Field(
        ("**",),
        description="Patterns, as in .gitignore, of the files to ship, relative to the manifest's "
        "folder. What .gitignore and .kocoignore exclude is never shipped.",
    )
    dependencies: Annotated[
        tuple[Annotated[str, AfterValidator(rules.requirement)], ...], _Lenient
    ] = Field(
        (),
        description="PyPI requirements (PEP 508) that the nodes install.",
        examples=[["six==1.16.0"]],
    )
    env: dict[_EnvName, _EnvValue] = Field(
        {},
        description="Environment variables of the runner. No secrets: Ray's dashboard shows them.",
        # Pydantic itself says nothing of a mapping's keys.
        json_schema_extra={"propertyNames": {"pattern": rules.ENV_NAME}},
    )


class Runner(_Part):
    """How the processes that run the service's executions are pooled."""

    min: int = Field(1, ge=0, description="Runners kept warm.")
    max: int = Field(10, ge=1, description="Runners at most, and no fewer than `min`.")
    idle_timeout: float = Field(
        300,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that a runner above `min` stays idle before it ends.",
    )
    concurrency: int = Field(
        1,
        ge=1,
        description="Executions at once in one process. More than 1 suits `async def` entrypoints.",
    )
    executions: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Executions in one process's life; null for no limit."
    )


class Endpoint(_Part):
    """How an endpoint of the service's own (`app`) is asked."""

    timeout: float = Field(
        30,
        gt=0,
        le=3600,
        description="Seconds that a handler of `app` may take over one request.",
    )


class Files(_Part):
    """How much an execution may hold in its files."""

    max_count: int = Field(10_000, ge=1, description="Files of one execution at most.")
    max_size_mb: float = Field(
        10_240, gt=0, allow_inf_nan=False, description="Size of one file at most (MB)."
    )
    max_total_mb: float = Field(
        102_400, gt=0, allow_inf_nan=False, description="Size of all its files at most (MB)."
    )


class Manifest(_Part):
    """A service: what is deployed, as its author declares it."""

    service: _Name = Field(description="The service's name, unique on its control plane.")
    description: str = Field("", description="What the service is for, in Markdown.")
    author: str = Field("", description="Who answers for it, for example an e-mail address.")
    organization: str = Field("", description="The organization behind it.")
    version: str = Field("", description="The author's own version of it; koco counts releases.")
    tags: _Tags = Field((), description="Words to find it by.")
    app: _Entrypoint | None = Field(
        None,
        description="An endpoint of the service's own: `module:object` of a ServeAPI, or of an "
        "application bound for Ray Serve. Each of its `enter` routes is a flow.",
        examples=["hymn.app:app"],
    )
    flows: Annotated[tuple[Flow, ...], _Lenient] = Field(
        (), description="What users can launch through an endpoint that koco makes."
    )
    locks: dict[_LockName, Annotated[tuple[dict[str, Any], ...], _Lenient]] = Field(
        {},
        description="By the name of a lock: the elements of the form that a person answers it "
        "with. A lock that `app` describes is described there.",
    )
    runtime: Runtime = Field(Runtime(), description="What the code needs around it.")
    runner: Runner = Field(Runner(), description="How its processes are pooled.")
    endpoint: Endpoint = Field(Endpoint(), description="How `app` is asked.")
    files: Files = Field(Files(), description="How much an execution may hold in its files.")
