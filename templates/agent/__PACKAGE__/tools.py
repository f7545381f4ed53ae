"""What the agent can do: plain functions, and what the model is told of them."""

from typing import Any

#: Stands for the shop's database.
ORDERS = {"1042": {"item": "Lamp", "paid": 50}, "1043": {"item": "Chair", "paid": 120}}


def find_order(number: str) -> dict[str, Any]:
    """Return an order; raise `KeyError` if there is none."""
    return {"number": number, **ORDERS[number]}


def refund(number: str, amount: float) -> dict[str, Any]:
    """Pay back an amount; raise `ValueError` if it is more than was paid."""
    paid = ORDERS[number]["paid"]
    if not 0 < amount <= paid:
        raise ValueError(f"at most {paid} can be paid back")
    return {"number": number, "refunded": amount}  # call the payment service here


#: The tools, by the names that the model uses.
TOOLS = {"find_order": find_order, "refund": refund}

#: Tools that are used only after a person has approved it.
NEEDS_APPROVAL = {"refund"}

_NUMBER = {"type": "string", "description": "The order's number."}

#: What the model is told, as OpenAI's chat completions want it.
SPECIFICATIONS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "find_order",
            "description": "Look up an order.",
            "parameters": {
                "type": "object",
                "properties": {"number": _NUMBER},
                "required": ["number"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "refund",
            "description": "Pay back an order, in part or in full.",
            "parameters": {
                "type": "object",
                "properties": {"number": _NUMBER, "amount": {"type": "number"}},
                "required": ["number", "amount"],
            },
        },
    },
]
