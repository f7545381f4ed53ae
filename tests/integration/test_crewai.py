"""A real crew: CrewAI from PyPI, in a service written for Kodosumi, asking a model server here."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.completions import KEY, VERSE, endpoint
from tests.support.driver import Koco

CODE = """
    import os

    from crewai import LLM, Agent, Crew, Task
    from crewai.project import CrewBase, agent, crew, task
    from fastapi import Request
    from kodosumi.core import Launch, Tracer, forms as F

    url, key = os.environ["MODEL_URL"], os.environ["MODEL_KEY"]
    llm = LLM(model="openai/tiny", base_url=url, api_key=key)

    def _writer():
        return Agent(role="poet", goal="to write verses", backstory="None.", llm=llm)

    def _verse(poet):
        return Task(
            description="Write about {topic}.", expected_output="A verse.", agent=poet, name="verse"
        )

    poet = _writer()
    hymn = Crew(agents=[poet], tasks=[_verse(poet)])

    @CrewBase
    class Poets:
        agents_config = tasks_config = None

        @agent
        def poet(self):
            return _writer()

        @task
        def verse(self):
            return _verse(self.poet())

        @crew
        def crew(self):
            return Crew(agents=self.agents, tasks=self.tasks)

    async def by_hand(inputs: dict, tracer: Tracer):
        made = await hymn.copy().kickoff_async(inputs=inputs)
        await tracer.markdown("# Hymn", made.raw)
        return made
"""

PYPROJECT = """
[project]
name = "poets"
version = "0.1.0"
requires-python = ">=3.11,<3.14"
dependencies = ["crewai==1.15.30"]
"""

#: CrewAI reports its use to its makers unless it is told not to.
_QUIET = {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true"}

#: CrewAI has 120 packages, and its import takes seconds of a core.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def poets(koco: Koco) -> Iterator[Koco]:
    with endpoint() as url:
        runtime = {
            "kodosumi": True,
            "pyproject": "pyproject.toml",
            "env": {"MODEL_URL": url, "MODEL_KEY": KEY, **_QUIET},
        }
        flows = [
            {"name": name, "entrypoint": f"poets_app:{entrypoint}"}
            for name, entrypoint in (("crew", "hymn"), ("base", "Poets"), ("hand", "by_hand"))
        ]
        runner = {"min": 1, "max": 1}
        root = koco.project("poets", CODE, flows=flows, runtime=runtime, runner=runner)
        (root / "pyproject.toml").write_text(PYPROJECT)
        lock = [sys.executable, "-m", "uv", "lock", "--quiet"]
        subprocess.run(lock, cwd=root, check=True, timeout=180)
        deploying = koco.popen("deploy", "--timeout", "400", cwd=root)
        out, err = deploying.communicate(timeout=450)
        assert deploying.returncode == 0, f"{out}\n{err}"
        yield koco


@pytest.mark.parametrize("flow", ["crew", "base"])
def test_a_crew_of_crewais_is_an_entrypoint(poets: Koco, flow: str) -> None:
    """An object, and a class that CrewAI has marked: agents and tasks are events, outputs too."""
    done = poets.execute(f"poets/{flow}", topic="night")
    assert done.status == "finished", done.events
    assert done.result["raw"] == VERSE
    assert [next(iter(each)) for each in done.of("agent")] == ["agent", "task"]
    assert done.of("agent")[0]["agent"]["role"] == "poet"
    assert [each["raw"] for each in done.of("result")] == [VERSE]


def test_an_entrypoint_may_run_a_crew_itself(poets: Koco) -> None:
    """And return its output."""
    done = poets.execute("poets/hand", topic="night")
    assert done.result["raw"] == VERSE
    assert done.of("result") == [{"type": "markdown", "body": f"# Hymn\n\n{VERSE}"}]
