"""A crew is an entrypoint: anything with `kickoff`, such as CrewAI's."""


class Agent:
    role, goal, backstory, tools = "writer", "to write", "none", ()


class Task:
    name, description, expected_output, tools = "verse", "Write a verse.", "a verse", ()
    agent = Agent()


class Output:
    def __init__(self, raw):
        self.raw = raw

    def model_dump(self, mode="python"):
        return {"raw": self.raw}


class Crew:
    step_callback = task_callback = None

    def __init__(self):
        self.agents, self.tasks = [Agent()], [Task()]

    def kickoff(self, inputs=None):
        self.step_callback(Output("thought"))
        self.task_callback(Output("verse"))
        return Output(f"a hymn to {inputs['topic']}")


crew = Crew()
