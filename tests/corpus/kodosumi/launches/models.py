"""A pydantic model arrives as the model, not as a dict."""

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F
from pydantic import BaseModel

from launches.app import app


class Person(BaseModel):
    name: str
    age: int


@app.enter("/models", model=F.Model(F.InputText(name="name")), summary="Models")
async def enter(request: Request, inputs: dict):
    return Launch(request, "launches.models:run", inputs=Person(name=inputs["name"], age="36"))


def run(inputs: Person):
    return inputs.model_copy(update={"age": inputs.age + 1})
