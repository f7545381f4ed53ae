"""Inputs may be an object of a class of the service's."""

from dataclasses import dataclass, field

from fastapi import Request
from kodosumi.core import Launch
from kodosumi.core import forms as F

from launches.app import app


@dataclass
class Order:
    item: str
    notes: list = field(default_factory=list)

    def price(self):
        return 3 * len(self.item)


@app.enter("/objects", model=F.Model(F.InputText(name="item")), summary="Objects")
async def enter(request: Request, inputs: dict):
    return Launch(request, run, Order(inputs["item"], [object]))


def run(inputs: Order):
    return [type(inputs).__name__, inputs.price(), inputs.notes == [object]]
