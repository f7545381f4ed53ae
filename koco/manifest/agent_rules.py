"""Rules for what a manifest, or an `enter` route, tells agents of a flow."""

import re
from typing import Any

from koco.manifest.problems import InvalidValueError
from koco.manifest.rules import check_free_values

#: The protocols over which agents call flows: see docs/agents.md.
MIP003 = "mip003"
PROTOCOLS = ("mcp", "a2a", MIP003)


def check_protocol(name: str) -> str:
    """Check the name of a protocol over which agents call a flow."""
    if name in PROTOCOLS:
        return name
    raise InvalidValueError(f"there is no protocol {name!r}", f"one of: {', '.join(PROTOCOLS)}")


#: The networks of Masumi's payments.
NETWORKS = ("Preprod", "Mainnet")
_AMOUNT = re.compile(r"[0-9]{1,25}")
_IDENTIFIER_LENGTH = 250


def check_network(name: str) -> str:
    """Check the name of a Cardano network."""
    if name in NETWORKS:
        return name
    raise InvalidValueError(f"there is no network {name!r}", f"one of: {', '.join(NETWORKS)}")


def check_amount(text: str) -> str:
    """Check an amount of money in its smallest unit."""
    if _AMOUNT.fullmatch(text):
        return text
    raise InvalidValueError(f"must be a whole number as text, got {text!r}", 'such as "1000000"')


def check_agent_identifier(text: str) -> str:
    """Check the identifier of an agent in Masumi's registry."""
    if text.isalnum() and text.isascii() and len(text) <= _IDENTIFIER_LENGTH:
        return text
    raise InvalidValueError(
        "is not an agent's identifier", "copy it from the payment service, where it was registered"
    )


#: The types of JSON Schema.
_JSON_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
#: The keywords whose values are schemas by name, or lists of schemas, or a schema.
_BY_NAME = ("properties", "$defs", "patternProperties")
_IN_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains")


def check_json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Check a JSON Schema for mistakes that would make clients refuse it: unknown types.

    Raises as `check_free_values` does, too.
    """
    waiting: list[Any] = [check_free_values(schema)]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, dict):
            if isinstance(each, bool):
                continue
            raise InvalidValueError(f"is no JSON Schema: it has {each!r} in a schema's place")
        kinds = each.get("type", [])
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if kind not in _JSON_TYPES:
                hint = f"one of: {', '.join(_JSON_TYPES)}"
                raise InvalidValueError(f"is no JSON Schema: there is no type {kind!r}", hint)
        waiting += [each[key] for key in _SINGLE if key in each]
        for key in _BY_NAME:
            waiting += each[key].values() if isinstance(each.get(key), dict) else ()
        for key in _IN_LISTS:
            waiting += each[key] if isinstance(each.get(key), list) else ()
    return schema
