"""A flow as MIP-002 describes agents, and whether it takes jobs."""

from typing import Any

from koco.api.agents.mip003 import access
from koco.api.http.request import Request
from koco.control.services.catalog import Entry

#: What Kodosumi says of services without tags, and MIP-002 wants one.
_UNTAGGED = ["untagged"]
_FREE = [{"amount": "0", "unit": "lovelace"}]


def describe(request: Request, entry: Entry, *, url: str) -> dict[str, Any]:
    """Return a flow's metadata. `url` is the beginning of the URLs of its endpoints."""
    flow, named = entry.flow, access.terms(request.parts.catalog, entry.name)
    price = [{"amount": each.amount, "unit": each.unit} for each in named.price] if named else []
    author = {"name": flow.author or None, "organization": flow.organization or None}
    capability = {"name": entry.service, "version": flow.version}
    return {
        "name": flow.summary or flow.name,
        "description": flow.description or flow.summary or None,
        "api_url": url,
        "author": {**author, "contact_email": None, "contact_other": None},
        "capability": capability if flow.version else None,
        "legal": None,
        "tags": list(flow.tags) or _UNTAGGED,
        "agentPricing": [{"pricingType": "Fixed", "fixedPricing": price or _FREE}],
        "image": None,
        "example_output": None,
        "metadata_version": 1,
    }


def availability(request: Request, entry: Entry) -> dict[str, Any]:
    """Return whether a live flow takes jobs: one that is paid needs a payment service."""
    named = access.terms(request.parts.catalog, entry.name)
    name = entry.flow.summary or entry.flow.name
    if named is not None and named.agent_identifier and not request.parts.settings.masumi_url:
        return unavailable(f"{name} cannot be paid here yet")
    message = f"{name} is ready to accept jobs"
    return {"status": "available", "type": _TYPE, "message": message}


def unavailable(message: str) -> dict[str, Any]:
    """Return that a flow takes no jobs, and why."""
    return {"status": "unavailable", "type": _TYPE, "message": message}


_TYPE = "masumi-agent"
