"""A manifest's keys: their types, defaults and meaning.

Types are strict: `"3"` is no number, `true` neither, `1.0` no text. What joins
several keys (`runner.max` ≥ `runner.min`, unique names) is checked by `load`,
which reports it along with everything else.
"""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    model_serializer,
)

from koco.manifest import cron, rules

# Data comes from YAML and JSON, which know lists only; nothing but the outer type is lenient.
_Lenient = Strict(False)

_Name = Annotated[str, AfterValidator(rules.name), Field(json_schema_extra={"pattern": rules.NAME})]
_Entrypoint = Annotated[
    str, AfterValidator(rules.entrypoint), Field(json_schema_extra={"pattern": rules.ENTRYPOINT})
]
_EnvName = Annotated[str, AfterValidator(rules.env_name)]
_EnvValue = Annotated[str, AfterValidator(rules.env_value)]
_Secret = Annotated[
    str, AfterValidator(rules.secret_name), Field(json_schema_extra={"pattern": rules.ENV_NAME})
]
_Path = Annotated[str, AfterValidator(rules.inner_path)]
_Root = Annotated[str, AfterValidator(rules.root)]
_Public = Annotated[
    str, AfterValidator(rules.public_path), Field(json_schema_extra={"pattern": rules.PUBLIC_PATH})
]
_Amount = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(rules.amount)]
_Label = Annotated[str, AfterValidator(rules.label)]
_LabelWanted = Annotated[str, AfterValidator(rules.label_wanted)]
_LockName = Annotated[str, AfterValidator(rules.lock_name)]
_Cron = Annotated[str, AfterValidator(cron.expression)]
_Zone = Annotated[str, AfterValidator(cron.timezone)]
_Plain = Annotated[dict[str, Any], AfterValidator(rules.plain)]
_Tag = Annotated[str, Field(min_length=1)]
_Tags = Annotated[tuple[_Tag, ...], _Lenient]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Limits(_Part):
    """How much of a flow runs and waits at once, how long, and how often it is tried."""

    running: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Executions at once, of all the service's releases; null for no limit."
    )
    queue: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Executions that wait until others have ended; what would wait beyond that "
        "is refused. Null for no limit.",
    )
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None,
        description="Seconds that one attempt may run; while it awaits a person they do not "
        "pass. Null for no limit.",
    )
    retries: int = Field(
        0, ge=0, le=100, description="Attempts that may follow the first, where its runner dies."
    )
    retry_errors: bool = Field(
        False, description="Whether an attempt that ends with an error is followed by another."
    )
    backoff: float = Field(
        1,
        ge=0,
        allow_inf_nan=False,
        description="Seconds before the second attempt; each further pause is twice as long, "
        "up to an hour.",
    )


class FlowLimits(Limits):
    """The keys of a service's limits that are others for one flow."""

    def __eq__(self, other: object) -> bool:
        """Say whether the same is given: `queue: null` takes a limit away, nothing leaves it."""
        if not isinstance(other, FlowLimits) or self.model_fields_set != other.model_fields_set:
            return False
        return super().__eq__(other)

    __hash__ = Limits.__hash__

    @model_serializer(mode="wrap")
    def _given(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A default stands for nothing here: what is not given is the service's. One that is given
        # stands, though, also where whoever asks wants no defaults.
        shown = serialize(self)
        given = [key for key in type(self).model_fields if key in self.model_fields_set]
        return {key: shown.get(key, getattr(self, key)) for key in given}


class Schedule(_Part):
    """A flow that is launched at certain times."""

    flow: _Name = Field(description="The name of the flow, of this service.")
    cron: _Cron = Field(
        description="When: minute, hour, day of the month, month, day of the week. "
        "With six fields the first one is the second.",
        examples=["0 6 * * 1-5"],
    )
    timezone: _Zone = Field(
        "UTC", description="The time zone of these, by its IANA name.", examples=["Europe/Berlin"]
    )
    inputs: _Plain = Field({}, description="What it is launched with.")
    overlap: bool = Field(
        False, description="Whether it is launched although the former one has not ended."
    )
    catch_up: bool = Field(
        False,
        description="Whether the latest time that was missed, as the control plane was down, "
        "is made up for.",
    )


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
    limits: FlowLimits = Field(
        FlowLimits(), description="What is other for this flow than the service's `limits`."
    )


class Runtime(_Part):
    """What the code needs around it."""

    files: Annotated[
        tuple[Annotated[str, AfterValidator(rules.pattern)], ...], _Lenient, Field(min_length=1)
    ] = Field(
        ("**",),
        description="Patterns, as in .gitignore, of the files to ship, relative to `root`. "
        "What .gitignore and .kocoignore exclude is not shipped.",
    )
    include: Annotated[tuple[Annotated[str, AfterValidator(rules.included)], ...], _Lenient] = (
        Field(
            (),
            description="Patterns of files to ship although they look like secrets, such as `.env` "
            "and `*.pem`, which are left out otherwise; also where .gitignore excludes them.",
            examples=[["certs/ca.pem"]],
        )
    )
    dependencies: Annotated[
        tuple[Annotated[str, AfterValidator(rules.requirement)], ...], _Lenient
    ] = Field(
        (),
        description="PyPI requirements (PEP 508) that the nodes install.",
        examples=[["six==1.16.0"]],
    )
    requirements: _Path | None = Field(
        None,
        description="A requirements file among those that are shipped, relative to "
        "`root`. The nodes install what it names, and `dependencies` with it.",
        examples=["requirements.txt"],
    )
    pyproject: _Path | None = Field(
        None,
        description="A pyproject.toml among the files that are shipped, with its uv.lock beside "
        "it: the nodes install what is locked. Excludes `dependencies` and `requirements`.",
        examples=["pyproject.toml"],
    )
    env: dict[_EnvName, _EnvValue] = Field(
        {},
        description="Environment variables of the runner; `${NAME}` and `${NAME:-default}` take "
        "the deployer's own, `$${` is a literal one. No secrets: Ray's dashboard shows them.",
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
        description="Executions at once in one process. More than 1 suits flows that wait, "
        "`async def` or `def`.",
    )
    executions: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Executions in one process's life; null for no limit."
    )
    memory_mb: Annotated[int, Field(ge=128)] | None = Field(
        None,
        description="Memory that a runner may use, with the subprocesses that it starts; each Ray "
        "task and actor of an execution may use as much. What wants more ends as out of memory. "
        "Null for 80 % of its node's. It sets nothing aside: that is `resources`.",
    )
    resources: dict[Annotated[str, AfterValidator(rules.resource)], _Amount] = Field(
        {},
        description="What Ray sets aside for each runner on its node: `CPU`, `GPU`, `memory_mb`, "
        "or what the cluster's nodes call their own. Left out, nothing is.",
        examples=[{"CPU": 1, "GPU": 0.5, "memory_mb": 512}],
    )
    labels: dict[_Label, _LabelWanted] = Field(
        {},
        description="Labels that a runner's node must have: a value, `!value`, `in(a, b)` or "
        "`!in(a, b)`.",
        examples=[{"zone": "in(a, b)", "market-type": "!spot"}],
    )


class Endpoint(_Part):
    """How an endpoint of the service's own (`app`) is asked."""

    timeout: float = Field(
        30,
        gt=0,
        le=3600,
        description="Seconds that a handler of `app` may take over one request.",
    )
    public: Annotated[tuple[_Public, ...], _Lenient] = Field(
        (),
        description="Paths of `app` that anybody may ask, without a key: a path, or with `/*` at "
        "its end all that is below it. Routes of flows cannot be among them.",
        examples=[["/webhook", "/static/*"]],
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
    root: _Root = Field(
        ".",
        description="The folder to ship, relative to the manifest's own. Modules are imported "
        "from it.",
        examples=["..", "src"],
    )
    runtime: Runtime = Field(Runtime(), description="What the code needs around it.")
    secrets: Annotated[tuple[_Secret, ...], _Lenient] = Field(
        (),
        description="The names of secrets, kept by the control plane, that the service's "
        "processes have as environment variables.",
        examples=[["OPENAI_API_KEY"]],
    )
    runner: Runner = Field(Runner(), description="How its processes are pooled.")
    endpoint: Endpoint = Field(Endpoint(), description="How `app` is asked.")
    serve: _Plain = Field(
        {},
        description="Options of Ray Serve for the deployment that answers for `app`, such as "
        "`num_replicas`, `autoscaling_config` and `ray_actor_options`.",
        examples=[{"num_replicas": 2, "ray_actor_options": {"num_cpus": 0.5}}],
    )
    files: Files = Field(Files(), description="How much an execution may hold in its files.")
    limits: Limits = Field(
        Limits(), description="How much of each flow runs and waits, how long, how often tried."
    )
    schedule: Annotated[tuple[Schedule, ...], _Lenient] = Field(
        (), description="When flows are launched by themselves."
    )
