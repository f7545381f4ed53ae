"""LangGraph: a graph of one node. The server gives it a checkpointer."""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from trivial_work import began, work


class State(TypedDict, total=False):
    """What goes in, and the result."""

    number: int
    seconds: float
    waits: bool
    result: int


def node(state: State) -> State:
    """Do the work, or wait for a person."""
    if state.get("waits"):
        began(state["number"])
        interrupt("go on?")
        return {"result": state["number"]}
    return {"result": work(state["number"], state.get("seconds", 0.0))}


builder = StateGraph(State)
builder.add_node("node", node)
builder.add_edge(START, "node")
builder.add_edge("node", END)
graph = builder.compile()
