"""Executions the Kodosumi way: what a service has pickled, and the environment of a process."""

import asyncio
import base64
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from koco.errors import DeployError
from koco.kodosumi.tracer import Tracer
from koco.runner import flows
from koco.runner.flow import Flow
from koco.runner.flows import Flows
from koco.runner.spec import FlowSpec, Launch
from koco.sdk import in_memory

SPECS = tuple(FlowSpec(name=name, entrypoint=f"{__name__}:{name}") for name in ("named", "more"))


def named(inputs: Any, tracer: Tracer) -> Any:
    return type(tracer).__module__, inputs


def more(inputs: Any, count: int = 3) -> Any:
    return inputs, count


def launch(**more: Any) -> Launch:
    given = {"fid": "f", "flow": "named", "inputs": {"a": "1"}, "dialect": "kodosumi", **more}
    return Launch(**given)


def pickled(entry_point: Any, inputs: Any) -> str:
    return base64.b64encode(cloudpickle.dumps((entry_point, inputs))).decode()


def run(ordered: Launch) -> Any:
    flow, inputs = asyncio.run(Flows(SPECS).prepare(ordered))
    return flow.start(inputs, flow.trace(in_memory.Tracer()))


def test_finds_entrypoints_by_name() -> None:
    """The manifest's, or the one that the service's endpoint has ordered."""
    home = "koco.kodosumi.tracer"
    assert run(launch()) == (home, {"a": "1"})
    assert run(launch(flow="other", entrypoint=f"{__name__}.named")) == (home, {"a": "1"})


def test_runs_closures_with_any_inputs() -> None:
    """They come pickled, and a name may come with pickled inputs."""
    factor = 3

    def times(inputs: set[int]) -> set[int]:
        return {factor * each for each in inputs}

    assert run(launch(pickled=pickled(times, {1, 2}))) == {3, 6}
    assert run(launch(pickled=pickled(f"{__name__}:named", (1, 2))))[1] == (1, 2)


@pytest.mark.parametrize("broken", [{"pickled": "bm90"}, {"entrypoint": "no.such:thing"}])
def test_the_execution_raises_what_its_import_raises(broken: dict[str, str]) -> None:
    """The runner goes on, because the execution exists by then."""
    with pytest.raises(Exception, match=r"no.such|invalid load key"):
        run(launch(**broken))


def test_makes_no_form_of_a_signature() -> None:
    """As in Kodosumi: without elements in the manifest, any object is accepted."""
    spec = FlowSpec(
        name="named", entrypoint=f"{__name__}:named", inputs=({"type": "boolean", "name": "x"},)
    )
    assert Flows(SPECS, dialect="kodosumi").load("more") is None
    form = Flows((spec,), dialect="kodosumi").load("named")
    assert form is not None and form.to_list()[0]["name"] == "x"
    assert Flows(SPECS).load("more") is not None


@pytest.mark.parametrize(
    ("path", "said"), [(f"{__name__}:SPECS", "not callable"), ("no:x", "'no'")]
)
def test_reports_entrypoints_that_do_not_exist(path: str, said: str) -> None:
    """At deploy, with koco's own message."""
    with pytest.raises(DeployError, match=said):
        Flows((FlowSpec(name="x", entrypoint=path),), dialect="kodosumi").load("x")


def test_other_executions_are_kocos_own() -> None:
    """They get no tracer of Kodosumi's, and load nothing of it."""
    flow, inputs = asyncio.run(
        Flows(SPECS).prepare(launch(dialect="", entrypoint=f"{__name__}:named"))
    )
    assert type(flow) is Flow and inputs == {"a": "1"}
    tracer = in_memory.Tracer()
    assert flow.trace(tracer) is tracer


def test_the_environment_names_the_execution() -> None:
    """While it runs alone in its process; its downloads go when it ends."""
    ordered = launch(user="ada")
    flows.enter(ordered, is_alone=False)
    assert "KODOSUMI_FID" not in os.environ
    flows.enter(ordered, is_alone=True)
    assert (os.environ["KODOSUMI_FID"], os.environ["KODOSUMI_USER_ID"]) == ("f", "ada")
    mine, others = (Path(tempfile.mkdtemp(prefix=f"kodosumi-{fid}-")) for fid in ("f", "g"))
    asyncio.run(flows.leave(ordered))
    assert "KODOSUMI_FID" not in os.environ and "KODOSUMI_USER_ID" not in os.environ
    assert not mine.exists() and others.exists()
    others.rmdir()
