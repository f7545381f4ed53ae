"""Crews on real runners: many at once, in one process, from a class that CrewAI would have made."""

import pytest

from tests.support.driver import Ended, Koco

CODE = """
    import asyncio, threading

    class Agent:
        role, goal, step_callback = "writer", "to write", None

    class Task:
        description = "write about it"
        def __init__(self, agent):
            self.agent = agent

    class Output:
        def __init__(self, raw):
            self.raw = raw
        def model_dump(self, mode="python"):
            return {"raw": self.raw}

    class Crew:
        step_callback = task_callback = None
        def __init__(self):
            self.agents = [Agent()]
            self.tasks = [Task(self.agents[0])]
        def kickoff(self, inputs):
            for agent in self.agents:
                agent.step_callback = agent.step_callback or self.step_callback
            def work():
                for step in range(10):
                    print("step", inputs["me"])
                    self.tasks[0].agent.step_callback({"me": inputs["me"], "step": step})
            thread = threading.Thread(target=work)
            thread.start(); thread.join()
            self.task_callback(Output(inputs["me"]))
            return Output(f"done {inputs['me']}")
        async def kickoff_async(self, inputs):
            await asyncio.sleep(0.05)
            return await asyncio.to_thread(self.kickoff, inputs)

    class Base:
        def crew(self):
            return Crew()

    shared = Crew()
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    flows = [
        {"name": name.lower(), "entrypoint": f"crews_app:{name}"}
        for name in ("shared", "Base", "Crew")
    ]
    return koco.deploy("crews", CODE, flows=flows, runner={"max": 1, "concurrency": 50})


@pytest.mark.parametrize("flow", ["shared", "base", "crew"])
def test_a_crew_runs_many_times_at_once(app: Koco, flow: str) -> None:
    """Inputs go to `kickoff`, steps and tasks are events, of each execution its own."""
    fids = [app.launch(flow, me=me) for me in range(20)]
    for me, fid in enumerate(fids):
        ended = Ended(fid, app.events(fid))
        assert ended.status == "finished", ended.events[-2]
        assert ended.of("action") == [{"me": me, "step": step} for step in range(10)]
        assert ended.of("stdout") == [f"step {me}"] * 10
        assert ended.of("result") == [{"raw": me}]
        assert ended.result == {"raw": f"done {me}"}
        [agent] = ended.of("agent")
        assert agent["agents"] == [{"role": "writer", "goal": "to write"}]
