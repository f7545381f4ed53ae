"""The flow's entrypoint: asks the model, uses the tools that it wants, asks again, until it answers.

What a tool would do for good needs a person first: see `allowed`.
"""

import json
from typing import Any

from koco import Tracer, response

from __PACKAGE__ import model, tools

#: How often the model may be asked before the agent is taken to be lost.
ROUNDS = 8

#: How long the person may take (seconds): a day.
PATIENCE_S = 24 * 3600

ROLE = "You answer customers of a shop. Look up what you need. Refund only what was asked for."


async def support(tracer: Tracer, question: str) -> response.Markdown:
    """Answer a customer's question."""
    messages = [{"role": "system", "content": ROLE}, {"role": "user", "content": question}]
    for _ in range(ROUNDS):
        message = await model.complete(messages, tools.SPECIFICATIONS)
        messages.append(message)
        if not message.get("tool_calls"):
            return response.Markdown(message["content"])
        for call in message["tool_calls"]:
            result = await use(tracer, call["function"])
            content = json.dumps(result)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})
    raise RuntimeError(f"there is no answer after {ROUNDS} rounds")


async def use(tracer: Tracer, call: dict[str, Any]) -> dict[str, Any]:
    """Use a tool, and return its result. What is wrong with the call, the model is told."""
    name, arguments = call["name"], call["arguments"]
    try:
        given = json.loads(arguments)
        result = await allowed(tracer, name, given) or tools.TOOLS[name](**given)
    except (KeyError, TypeError, ValueError) as exc:
        result = {"error": f"{type(exc).__name__}: {exc}"}
    await tracer.action({"tool": name, "arguments": arguments, "result": result})
    return result


async def allowed(tracer: Tracer, name: str, given: dict[str, Any]) -> dict[str, Any] | None:
    """Ask a person about a tool that needs one. Return a refusal, or None if it may be used."""
    if name not in tools.NEEDS_APPROVAL:
        return None
    # The execution waits, for as long as it takes, without using a CPU.
    answer = await tracer.lock("approve", {"tool": name, **given}, PATIENCE_S)
    return None if answer["ok"] else {"refused": answer["why"] or "no reason given"}
