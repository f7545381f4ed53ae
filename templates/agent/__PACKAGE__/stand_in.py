"""Stands in for a model: it knows one conversation, and needs neither a network nor a key."""

import json
import re
from typing import Any


def reply(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the next message, as a model would."""
    question = next(each["content"] for each in messages if each["role"] == "user")
    results = [json.loads(each["content"]) for each in messages if each["role"] == "tool"]
    number = re.search(r"\d+", question)
    if number is None:
        return _say("Please tell me the number of your order.")
    if not results:
        return _call("find_order", number=number[0])
    last = results[-1]
    if "error" in last:
        return _say(f"I cannot find order {number[0]}.")
    if "refunded" in last:
        return _say(f"I have paid back **{last['refunded']}** for order {number[0]}.")
    if "refused" in last:
        return _say(f"I cannot refund order {number[0]}: {last['refused']}.")
    if "refund" in question.lower():
        return _call("refund", number=number[0], amount=last["paid"])
    return _say(f"Order {number[0]} is a {last['item']} for {last['paid']}.")


def _say(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def _call(name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": f"call-{name}", "type": "function", "function": function}],
    }
