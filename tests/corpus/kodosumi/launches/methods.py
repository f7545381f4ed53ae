"""An entrypoint may be a method of an object, which keeps its state."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from launches.app import app


class Greeter:
    def __init__(self, greeting):
        self.greeting = greeting

    def greet(self, inputs: dict):
        return f"{self.greeting}, {inputs['who']}!"


@app.enter("/methods", model=F.Model(F.InputText(name="who")), summary="Methods")
def enter(request: Request, inputs: dict):
    return Launch(request, Greeter("Hello").greet, inputs)
