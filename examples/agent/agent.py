"""An agent with tools: asks a model, does what it wants done, asks again, until it answers.

    koco deploy                               # at the root of the repository
    koco run agent/ask -i question="What is 17 % of 2,340?" -i key="$OPENAI_API_KEY" -f
    koco run agent/ask -i question="What time is it?" -i base_url=http://127.0.0.1:11434/v1 \
        -i model=qwen3 -f

Any endpoint with OpenAI's chat completions will do: a hosted one, Ollama, vLLM. What is
not given comes from the runner's environment: OPENAI_BASE_URL, OPENAI_MODEL, OPENAI_API_KEY.
A key given as an input is shown nowhere, but koco's store holds it as it is.
"""

import ast
import datetime
import json
import operator
import os
from typing import Any

import httpx

from koco import Tracer, response
from koco.events.model import Kind

#: Rounds of tool calls before the agent is taken to be lost.
STEPS = 8


async def ask(
    tracer: Tracer, question: str, base_url: str = "", model: str = "", key: str = ""
) -> response.Markdown:
    """Answer a question with the help of tools."""
    base_url = base_url or os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
    model = model or os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
    key = key or os.environ.get("OPENAI_API_KEY", "")
    await tracer.emit(Kind.AGENT, {"name": "ask", "model": model, "tools": sorted(TOOLS)})
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=120) as client:
        for _ in range(STEPS):
            message = await complete(client, model, messages)
            messages.append(message)
            calls = message.get("tool_calls")
            if not calls:
                return response.Markdown(message["content"])
            for call in calls:
                step = use(call["function"]["name"], call["function"]["arguments"])
                await tracer.action(step)
                content = json.dumps(step["result"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})
    raise RuntimeError(f"no answer after {STEPS} rounds of tool calls")


async def complete(
    client: httpx.AsyncClient, model: str, messages: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the model's next message; raise `RuntimeError` that says what was wrong with it."""
    tools = [{"type": "function", "function": spec} for _, spec in TOOLS.values()]
    request = {"model": model, "messages": messages, "tools": tools}
    try:
        answer = await client.post("chat/completions", json=request)
    except httpx.HTTPError as exc:
        raise RuntimeError(f"{client.base_url} does not answer: {exc!r}") from exc
    if answer.status_code == 401:
        raise RuntimeError(f"{client.base_url} refuses the key (401): give `key`: {answer.text}")
    if answer.is_error:
        raise RuntimeError(f"{answer.url} answered {answer.status_code}: {answer.text[:500]}")
    try:
        message = answer.json()["choices"][0]["message"]
        well_formed = [call["function"]["arguments"] for call in message.get("tool_calls") or ()]
        if not well_formed and not isinstance(message["content"], str):
            raise TypeError("neither content nor tool calls")
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise RuntimeError(f"{answer.url} sent no chat completion: {answer.text[:500]}") from exc
    return dict(message)


def use(name: str, arguments: str) -> dict[str, Any]:
    """Call a tool; return the step as an event shows it. What goes wrong, the model is told."""
    result: Any
    try:
        function, _ = TOOLS[name]
        result = function(**json.loads(arguments))
    except KeyError:
        result = {"error": f"there is no tool {name!r}"}
    except (TypeError, ValueError, ArithmeticError, SyntaxError, RecursionError) as exc:
        result = {"error": f"{type(exc).__name__}: {exc}"}
    return {"tool": name, "arguments": arguments, "result": result}


def calculate(expression: str) -> float:
    """Return the value of an expression of numbers; nothing else can be in it."""
    return value_of(ast.parse(expression, mode="eval").body)


def value_of(node: ast.expr) -> float:
    """Return the value of a parsed expression."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value_of(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](value_of(left), value_of(right))
    raise ValueError(f"only numbers and + - * / may be in it, not {ast.unparse(node)!r}")


def now() -> str:
    """Return the time, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


# No power: `9**9**9` would keep the process busy for ever.
OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}

#: Each tool: the function, and what the model is told of it.
TOOLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "calculate": (
        calculate,
        {
            "name": "calculate",
            "description": "Calculate with + - * / and parentheses.",
            "parameters": {
                "type": "object",
                "properties": {"expression": {"type": "string"}},
                "required": ["expression"],
            },
        },
    ),
    "now": (
        now,
        {
            "name": "now",
            "description": "The date and time, in UTC.",
            "parameters": {"type": "object", "properties": {}},
        },
    ),
}
