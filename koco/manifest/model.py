"""A manifest's keys: their types, defaults and meaning.

Types are strict: `"3"` and `true` are not numbers, and `1.0` is not text. `checks`
covers the rules for several keys together (`runner.max` ≥ `runner.min`, unique
names).
"""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from koco.manifest import agent_rules, cron, for_agents, rules
from koco.manifest.descriptions import EXPOSED, KODOSUMI
from koco.manifest.parts import List, Name, Part, Plain, pattern

_Entrypoint = Annotated[str, AfterValidator(rules.check_entrypoint), pattern(rules.ENTRYPOINT)]
_ServiceName = Annotated[str, AfterValidator(rules.check_service_name), pattern(rules.SERVICE)]
_EnvName = Annotated[str, AfterValidator(rules.check_env_name)]
_EnvValue = Annotated[str, AfterValidator(rules.check_env_value)]
_Secret = Annotated[str, AfterValidator(rules.check_secret_name), pattern(rules.ENV_NAME)]
_Path = Annotated[str, AfterValidator(rules.check_inner_path)]
_Root = Annotated[str, AfterValidator(rules.check_root)]
_Public = Annotated[str, AfterValidator(rules.check_public_path), pattern(rules.PUBLIC_PATH)]
_Pattern = Annotated[str, AfterValidator(rules.check_pattern)]
_Included = Annotated[str, AfterValidator(rules.check_include_pattern)]
_Requirement = Annotated[str, AfterValidator(rules.check_requirement)]
_Resource = Annotated[str, AfterValidator(rules.check_resource)]
_Form = List[dict[str, Any]]
_Amount = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(rules.check_amount)]
_Label = Annotated[str, AfterValidator(rules.check_label)]
_LabelWanted = Annotated[str, AfterValidator(rules.check_label_selector)]
_LockName = Annotated[str, AfterValidator(rules.check_lock_name)]
_Cron = Annotated[str, AfterValidator(cron.check_expression)]
_Zone = Annotated[str, AfterValidator(cron.check_timezone)]
_Schema = Annotated[dict[str, Any], AfterValidator(agent_rules.check_json_schema)]
_Tag = Annotated[str, Field(min_length=1)]
_Keep = Annotated[str, AfterValidator(rules.check_keep)]
_Call = Annotated[str, AfterValidator(rules.check_flow_pattern), pattern(rules.FLOW_PATTERN)]


class Limits(Part):
    """How many executions of a flow run and wait at once, how long, and how often they retry."""

    running: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Executions at once, in all the service's releases; null for no limit."
    )
    queue: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Executions that wait until others have ended. Further launches are refused. "
        "Null for no limit.",
    )
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None,
        description="Seconds that one attempt may run, without the time in which it awaits a "
        "person. Null for no limit.",
    )
    retries: int = Field(
        0, ge=0, le=100, description="Attempts that may follow the first if its runner dies."
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
    """The limits of one flow that differ from the service's."""

    def __eq__(self, other: object) -> bool:
        """Return whether the same keys are given, because `queue: null` differs from no key."""
        if not isinstance(other, FlowLimits) or self.model_fields_set != other.model_fields_set:
            return False
        return super().__eq__(other)

    __hash__ = Limits.__hash__

    @model_serializer(mode="wrap")
    def _given(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Only the given keys, because the service's limits apply to all others. A given key stays
        # even if it has the default value and the caller excludes defaults.
        shown = serialize(self)
        given = [key for key in type(self).model_fields if key in self.model_fields_set]
        return {key: shown.get(key, getattr(self, key)) for key in given}


class Schedule(Part):
    """The times at which koco launches a flow."""

    flow: Name = Field(description="The name of the flow, of this service.")
    cron: _Cron = Field(
        description="When: minute, hour, day of the month, month, day of the week. "
        "With six fields the first one is the second.",
        examples=["0 6 * * 1-5"],
    )
    timezone: _Zone = Field(
        "UTC", description="The time zone of these, by its IANA name.", examples=["Europe/Berlin"]
    )
    inputs: Plain = Field({}, description="The inputs of these launches.")
    overlap: bool = Field(
        False, description="Whether to launch the flow if its previous execution has not ended."
    )
    catch_up: bool = Field(
        False,
        description="Whether to launch the flow later if the control plane was down at the latest "
        "time.",
    )


class Flow(Part):
    """An automated process that a user can launch."""

    name: Name = Field(description="The flow's name, unique in its service.")
    entrypoint: _Entrypoint = Field(
        description="The Python callable that does the work: `module:object`.",
        examples=["hello.app:greet"],
    )
    summary: str = Field("", description="What the flow does, in one line.")
    description: str = Field("", description="What the flow does, at length, in Markdown.")
    inputs: _Form | None = Field(
        None,
        description="The elements of the form that launches the flow. Without them, koco makes "
        "the form from the entrypoint's signature.",
    )
    limits: FlowLimits = Field(
        FlowLimits(), description="Limits of this flow that differ from the service's `limits`."
    )
    durable: bool = Field(
        False,
        description="Whether an execution resumes after its last recorded step if its process "
        "dies, and gives up its process while it only waits.",
    )
    keep: _Keep | None = Field(
        None,
        description="How long its ended executions are kept, such as 30d or 12h, or `forever`. "
        "Null for the service's `keep`.",
    )
    output: _Schema | None = Field(
        None, description="The JSON Schema of its result, for agents. koco does not enforce it."
    )
    examples: List[for_agents.Example] = Field(
        (), description="Calls for agents to learn from: inputs and, if given, their result."
    )
    hints: for_agents.Hints = Field(
        for_agents.Hints(), description="What calling it does, as advice for agents."
    )
    expose: List[for_agents.Protocol] = Field(
        EXPOSED,
        description="The protocols over which agents may call it, besides koco's own API: `mcp`, "
        "`a2a`, `mip003`. An empty list for none.",
    )


class Runtime(Part):
    """The files, packages and environment variables that the code needs."""

    files: Annotated[List[_Pattern], Field(min_length=1)] = Field(
        ("**",),
        description="Patterns, as in .gitignore, of the files to ship, relative to `root`. "
        "Files that .gitignore or .kocoignore exclude are not shipped.",
    )
    include: List[_Included] = Field(
        (),
        description="Patterns of files to ship although they look like secrets, for example "
        "`.env` and `*.pem`, and although .gitignore excludes them.",
        examples=[["certs/ca.pem"]],
    )
    dependencies: List[_Requirement] = Field(
        (),
        description="PyPI requirements (PEP 508) that the nodes install.",
        examples=[["six==1.16.0"]],
    )
    requirements: _Path | None = Field(
        None,
        description="A requirements file among the shipped files, relative to `root`. The nodes "
        "install its packages, together with `dependencies`.",
        examples=["requirements.txt"],
    )
    pyproject: _Path | None = Field(
        None,
        description="A pyproject.toml among the shipped files, with a uv.lock in the same folder. "
        "The nodes install the locked packages. Excludes `dependencies` and `requirements`.",
        examples=["pyproject.toml"],
    )
    env: dict[_EnvName, _EnvValue] = Field(
        {},
        description="Environment variables of the runner. `${NAME}` and `${NAME:-default}` insert "
        "the deployer's variable, `$${` is a literal `${`. No secrets: Ray's dashboard shows them.",
        # Pydantic's schema omits the rules for a mapping's keys.
        json_schema_extra={"propertyNames": {"pattern": rules.ENV_NAME}},
    )
    kodosumi: bool = Field(
        False,
        description="Whether the code is written for Kodosumi. If so, `import kodosumi` finds "
        "`koco.kodosumi`, unless the nodes install the package itself, and its flows get inputs, "
        "a tracer and files as in Kodosumi.",
    )

    chdir: bool = Field(
        False,
        description="Whether the shipped folder is the current directory of the service's "
        "processes, so that relative paths lead into it.",
    )

    @property
    def installs(self) -> bool:
        """Whether nodes must install packages."""
        return bool(self.dependencies or self.requirements or self.pyproject)


class Runner(Part):
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
        description="Executions at once in one process. More than 1 suits flows that mostly wait, "
        "both `async def` and `def`.",
    )
    executions: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Executions in one process's life; null for no limit."
    )
    memory_mb: Annotated[int, Field(ge=128)] | None = Field(
        None,
        description="Memory that a runner may use, including its subprocesses. Each Ray task and "
        "actor of an execution may use as much. A process that uses more ends as out of memory. "
        "Null for 80 % of its node's. To reserve memory, use `resources`.",
    )
    resources: dict[_Resource, _Amount] = Field(
        {},
        description="Resources that Ray reserves on a node for each runner: `CPU`, `GPU`, "
        "`memory_mb`, or custom resources of the cluster's nodes. None by default.",
        examples=[{"CPU": 1, "GPU": 0.5, "memory_mb": 512}],
    )
    labels: dict[_Label, _LabelWanted] = Field(
        {},
        description="Labels that a runner's node must have: a value, `!value`, `in(a, b)` or "
        "`!in(a, b)`.",
        examples=[{"zone": "in(a, b)", "market-type": "!spot"}],
    )


class Endpoint(Part):
    """How requests to the service's own endpoint (`app`) are handled."""

    timeout: float = Field(
        30,
        gt=0,
        le=3600,
        description="Seconds that a handler of `app` may take over one request.",
    )
    public: List[_Public] = Field(
        (),
        description="Paths of `app` that need no key. With `/*` at the end, a path includes "
        "everything below it. Routes of flows cannot be public.",
        examples=[["/webhook", "/static/*"]],
    )


class Files(Part):
    """The limits on the files of an execution."""

    max_count: int = Field(10_000, ge=1, description="Files of one execution at most.")
    max_size_mb: float = Field(
        10_240, gt=0, allow_inf_nan=False, description="Size of one file at most (MB)."
    )
    max_total_mb: float = Field(
        102_400, gt=0, allow_inf_nan=False, description="Size of all its files at most (MB)."
    )


class Manifest(Part):
    """A service, as its author declares it."""

    service: _ServiceName = Field(description="The service's name, unique on its control plane.")
    description: str = Field("", description="The purpose of the service, in Markdown.")
    author: str = Field("", description="The person in charge, for example an e-mail address.")
    organization: str = Field("", description="The organization in charge.")
    version: str = Field("", description="The author's version of it; koco also counts releases.")
    tags: List[_Tag] = Field((), description="Words to find it by.")
    app: _Entrypoint | None = Field(
        None,
        description="An endpoint of the service's own: `module:object` of a ServeAPI, or of an "
        "application bound for Ray Serve. Each of its `enter` routes is a flow.",
        examples=["hymn.app:app"],
    )
    flows: List[Flow] = Field(
        (), description="The flows that users can launch through an endpoint that koco makes."
    )
    locks: dict[_LockName, _Form] = Field(
        {},
        description="The elements of each lock's form, by the lock's name. A person answers the "
        "lock with this form. The locks of `app` are defined in its code.",
    )
    root: _Root = Field(
        ".",
        description="The folder to ship, relative to the manifest's folder. Modules are imported "
        "from it.",
        examples=["..", "src"],
    )
    runtime: Runtime = Field(
        Runtime(), description="The files, packages and environment variables that the code needs."
    )
    secrets: List[_Secret] = Field(
        (),
        description="The names of secrets in the control plane. The service's processes get them "
        "as environment variables.",
        examples=[["OPENAI_API_KEY"]],
    )
    runner: Runner = Field(Runner(), description="How its processes are pooled.")
    endpoint: Endpoint = Field(Endpoint(), description="How requests to `app` are handled.")
    serve: Plain = Field(
        {},
        description="Options of Ray Serve for the deployment of `app`, for example "
        "`num_replicas`, `autoscaling_config` and `ray_actor_options`.",
        examples=[{"num_replicas": 2, "ray_actor_options": {"num_cpus": 0.5}}],
    )
    files: Files = Field(Files(), description="The limits on the files of an execution.")
    limits: Limits = Field(
        Limits(),
        description="How many executions of each flow run and wait, how long, and how often they "
        "retry.",
    )
    schedule: List[Schedule] = Field((), description="The times at which koco launches flows.")
    mip003: List[for_agents.Mip003] = Field(
        (),
        description="Flows that Masumi's clients may call over MIP-003 or Sumi, and how they are "
        "paid. A flow that is listed here has `mip003` in its `expose`.",
    )
    calls: List[_Call] = Field(
        (),
        description="Flows of other services that this service's flows may launch, whoever "
        "launched them: `service/flow`, where `*` is any text.",
        examples=[["publisher/*"]],
    )
    keep: _Keep | None = Field(
        None,
        description="How long ended executions of its flows are kept, such as 30d or 12h, or "
        "`forever`. Null for the control plane's setting `keep_executions_days`.",
    )
    encrypt: bool = Field(
        False,
        description="Whether the arguments and results of steps are encrypted in the store.",
    )

    @property
    def dialect(self) -> str:
        """The dialect of `flows`, as in `koco.manifest.descriptions`. `app` tells its own."""
        return KODOSUMI if self.runtime.kodosumi and self.app is None else ""
