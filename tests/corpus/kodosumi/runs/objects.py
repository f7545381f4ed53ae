"""A result that is an object keeps its fields, as Kodosumi's events show them."""

from dataclasses import dataclass

from kodosumi.core import Tracer
from pydantic import BaseModel


class Verse(BaseModel):
    text: str


@dataclass
class Line:
    number: int


async def run(inputs: dict, tracer: Tracer):
    await tracer.result(Verse(text="night"), Line(3))
    await tracer.action({"tool": "search"})
    return Verse(text="end")
