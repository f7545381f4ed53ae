"""An agent without a model: it finds another service's flow, calls it, and answers what it asks.

koco deploy                             # at the root of the repository: the flows that it may find
koco secret set PLANNER_KEY             # a key: `koco key create planner --scope launch` makes one
koco deploy examples/planner
koco run planner/plan -f -i url=URL -i goal='Have a document edited, then approved' \
    -i facts='{"title": "Hymn", "text": "To the night"}' -i protocol=a2a

It chooses by words, where others would ask a model; everything else is as in any agent. With
`protocol=mcp` it does the same over the other protocol. The control plane may be this one or
another, and needs to know nothing of the planner.
"""

import asyncio
import itertools
import os
import re
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

from koco import Tracer


@dataclass(frozen=True)
class Flow:
    """A flow that can be called: what it says of itself, and the JSON Schema of its inputs."""

    name: str
    about: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A call of a flow: over with a result or an error, or waiting for answers."""

    id: str
    #: The JSON Schemas of the answers that it waits for, by the ids of its questions.
    questions: dict[str, dict[str, Any]] = field(default_factory=dict)
    result: Any = None
    error: str = ""


class Peer(Protocol):
    """A control plane, over one of the protocols."""

    async def flows(self) -> list[Flow]:
        """Return the flows that the key may launch."""

    async def call(self, flow: str, inputs: dict[str, Any]) -> Task:
        """Call a flow; return the task once it is over or asks for something."""

    async def answer(self, task: Task, question: str, values: dict[str, Any]) -> Task:
        """Answer a question of a task; return the task as `call` does."""


async def plan(inputs: dict[str, Any], tracer: Tracer) -> dict[str, Any]:
    """Find the flow that fits the goal best, call it with the facts, and return its result."""
    import httpx  # here, because only a run needs it

    headers = {"Authorization": f"Bearer {os.environ['PLANNER_KEY']}"}
    async with httpx.AsyncClient(base_url=inputs["url"], headers=headers, timeout=None) as http:
        peer: Peer = A2A(http) if inputs["protocol"] == "a2a" else MCP(http)
        flows = await peer.flows()
        flow = choose(inputs["goal"], flows)
        await tracer.action({"chosen": flow.name, "of": [each.name for each in flows]})
        given = fill(flow.schema, inputs["facts"] or {}, inputs["goal"])
        task = await peer.call(flow.name, given)
        while task.questions:
            question, schema = next(iter(task.questions.items()))
            values = fill(schema, {}, "")
            await tracer.action(
                {"task": task.id, "asked": sorted(schema.get("properties", {})), "answer": values}
            )
            task = await peer.answer(task, question, values)
    if task.error:
        raise RuntimeError(f"{flow.name} failed: {task.error}")
    return {"flow": flow.name, "task": task.id, "result": task.result}


def choose(goal: str, flows: list[Flow]) -> Flow:
    """Return the flow whose words fit a goal best."""
    wanted = _words(goal)
    if not flows:
        raise LookupError("the key may launch no flow")
    return max(flows, key=lambda each: len(wanted & _words(f"{each.name} {each.about}")))


def fill(schema: dict[str, Any], facts: dict[str, Any], text: str) -> dict[str, Any]:
    """Return values for a schema: facts, or the first choice of what has choices, or a text."""
    values: dict[str, Any] = {}
    required = schema.get("required", [])
    for name, each in schema.get("properties", {}).items():
        choices = [*each.get("enum", []), *(one["const"] for one in each.get("oneOf", []))]
        if name in facts:
            values[name] = facts[name]
        elif name in required and choices:
            values[name] = choices[0]
        elif name in required and each.get("type") == "string":
            values[name] = text
        elif name in required and each.get("type") == "boolean":
            values[name] = True
    return values


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", text.lower()))


class A2A:
    """Over A2A 1.0, by JSON-RPC."""

    def __init__(self, http: Any) -> None:
        self._http = http
        self._agent = ""

    async def flows(self) -> list[Flow]:
        """Find the agent by its public card, and its flows by the card that a key is shown."""
        card = (await self._http.get("/.well-known/agent-card.json")).raise_for_status().json()
        self._agent = card["supportedInterfaces"][0]["url"]
        card = await self._ask("GetExtendedAgentCard", {})
        [extension] = card["capabilities"].get("extensions", [{"params": {"flows": {}}}])
        schemas = extension["params"]["flows"]
        return [
            Flow(
                skill["id"],
                f"{skill['name']} {skill['description']}",
                schemas[skill["id"]]["inputs"],
            )
            for skill in card["skills"]
            if skill["id"] in schemas
        ]

    async def call(self, flow: str, inputs: dict[str, Any]) -> Task:
        """Send a message that begins a task."""
        return await self._send(inputs, metadata={"flow": flow})

    async def answer(self, task: Task, question: str, values: dict[str, Any]) -> Task:
        """Send a message to a task."""
        return await self._send(values, taskId=task.id, metadata={"lock": question})

    async def _send(self, data: dict[str, Any], **more: Any) -> Task:
        message = {"messageId": uuid4().hex, "role": "ROLE_USER", "parts": [{"data": data}], **more}
        task = (await self._ask("SendMessage", {"message": message}))["task"]
        status = task["status"]
        parts = status.get("message", {}).get("parts", [])
        if status["state"] == "TASK_STATE_INPUT_REQUIRED":
            asked = [each["data"] for each in parts if "data" in each]
            return Task(
                task["id"], questions={each["lock"]: each.get("schema", {}) for each in asked}
            )
        if status["state"] != "TASK_STATE_COMPLETED":
            return Task(
                task["id"], error=" ".join(each["text"] for each in parts) or status["state"]
            )
        [made] = [each for each in task["artifacts"] if each["artifactId"] == "result"]
        part = made["parts"][0]
        return Task(task["id"], result=part.get("text", part.get("data")))

    async def _ask(self, method: str, params: dict[str, Any]) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = await self._http.post(self._agent, json=body, headers={"A2A-Version": "1.0"})
        found = answer.json()
        if "error" in found:
            raise RuntimeError(found["error"]["message"])
        return found["result"]


class MCP:
    """Over MCP, revision 2026-07-28, with its extension for tasks."""

    _version = "2026-07-28"
    _space = "io.modelcontextprotocol/"

    def __init__(self, http: Any) -> None:
        self._http = http
        self._ids = itertools.count(1)

    async def flows(self) -> list[Flow]:
        """List the tools."""
        tools = (await self._ask("tools/list"))["tools"]
        return [
            Flow(
                each["name"],
                f"{each.get('title', '')} {each.get('description', '')}",
                each["inputSchema"],
            )
            for each in tools
        ]

    async def call(self, flow: str, inputs: dict[str, Any]) -> Task:
        """Call a tool, and wait if that becomes a task."""
        found = await self._ask("tools/call", flow, name=flow, arguments=inputs)
        if found["resultType"] == "task":
            return await self._wait(found["taskId"])
        return _result(found.get("_meta", {}).get("koco/fid", ""), found)

    async def answer(self, task: Task, question: str, values: dict[str, Any]) -> Task:
        """Answer what a task asks, and wait on."""
        answers = {question: {"action": "accept", "content": values}}
        await self._ask("tasks/update", task.id, taskId=task.id, inputResponses=answers)
        return await self._wait(task.id, after=question)

    async def _wait(self, task: str, *, after: str = "") -> Task:
        while True:
            found = await self._ask("tasks/get", task, taskId=task)
            if found["status"] == "completed":
                return _result(task, found["result"])
            if found["status"] in ("failed", "cancelled"):
                return Task(task, error=found.get("statusMessage", found["status"]))
            asked = {
                name: each["params"]["requestedSchema"]
                for name, each in found.get("inputRequests", {}).items()
                if name != after
            }
            if found["status"] == "input_required" and asked:
                return Task(task, questions=asked)
            await asyncio.sleep(found.get("pollIntervalMs", 1000) / 1000)

    async def _ask(self, method: str, about_what: str = "", **params: Any) -> Any:
        extensions = {f"{self._space}tasks": {}}
        about = {
            f"{self._space}protocolVersion": self._version,
            f"{self._space}clientCapabilities": {"elicitation": {}, "extensions": extensions},
        }
        number = next(self._ids)
        body = {
            "jsonrpc": "2.0",
            "id": number,
            "method": method,
            "params": {**params, "_meta": about},
        }
        headers = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": self._version,
            "Mcp-Method": method,
            **({"Mcp-Name": about_what} if about_what else {}),
        }
        answer = (await self._http.post("/mcp", json=body, headers=headers)).json()
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer["result"]


def _result(task: str, found: dict[str, Any]) -> Task:
    text = "\n".join(each["text"] for each in found["content"] if each["type"] == "text")
    if found.get("isError"):
        return Task(task, error=text)
    value = found.get("structuredContent", text)
    # Markdown and such are told as text, too.
    is_body = isinstance(value, dict) and value.keys() == {"type", "body"}
    return Task(task, result=text if is_body else value)
