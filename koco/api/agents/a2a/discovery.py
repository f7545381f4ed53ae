"""How agents are found: the public card, the card of each flow, and the keys that sign them."""

from typing import Any

from litestar import Response, get

from koco.api.agents.a2a import answers, card_keys
from koco.api.agents.a2a.operations import listing
from koco.api.agents.a2a.operations.agent import Agent
from koco.api.agents.a2a.reading.requests import GetCard
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.errors import NotFoundError

_CARD = "/.well-known/agent-card.json"


@get(_CARD)
async def show_public_card(request: Request) -> Response[Any]:
    """Show that there is a koco, and how to ask it. It names no flow."""
    return _whole(listing.public_card(request), "public, max-age=300")


@get(f"/a2a/{{service:str}}/{{flow:str}}{_CARD}", guards=[requires("read")])
async def show_card(request: Request, service: str, flow: str) -> Response[Any]:
    """Show the card of a flow."""
    agent = Agent(request, f"{service}/{flow}")
    return _whole(await listing.card(agent, GetCard()), "private, max-age=60")


@get(listing.KEYS)
async def show_card_keys(request: Request) -> Response[Any]:
    """Show the public keys that cards are signed with."""
    signer = card_keys.signer_of(request.app.state)
    if signer is None:
        raise NotFoundError("cards are not signed here: the setting card_key names no key")
    return _whole({"keys": [signer.public]}, "public, max-age=300")


def _whole(content: Any, kept: str) -> Response[Any]:
    answer = answers.whole(content, answers.JSON)
    answer.headers["Cache-Control"] = kept
    return answer


ROUTES = (show_public_card, show_card, show_card_keys)
