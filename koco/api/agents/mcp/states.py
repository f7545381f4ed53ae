"""The state that a client carries from one round of a call to the next.

It names the execution that the call has launched. It is signed, and valid for the same caller, the
same call and a limited time, because a client may send anything.
"""

import base64
import binascii
import hashlib
import hmac
import time
from typing import Any

import msgspec

from koco.api.agents.mcp import versions
from koco.api.agents.mcp.asking import Ask
from koco.api.agents.mcp.messages import RpcError

#: How long a person may take to answer (seconds), as long as the longest default of a lock.
_VALID_S = 24 * 3600


class State(msgspec.Struct, frozen=True):
    """What is signed."""

    fid: str
    #: Who called, by the credential's name, and a digest of what was called.
    who: str
    call: str
    until: float


async def seal(ask: Ask, fid: str) -> str:
    """Return the state of a call that has launched an execution."""
    state = State(fid, ask.calls.caller.credential, _digest(ask), time.time() + _VALID_S)
    body = msgspec.json.encode(state)
    return base64.urlsafe_b64encode(await _sign(ask, body) + body).decode()


async def unseal(ask: Ask, sealed: Any) -> str:
    """Return the execution of a call's state.

    Raises:
        RpcError: it was not made here, or is not for this caller and call, or has expired.
    """
    refused = RpcError(versions.INVALID_PARAMS, "params.requestState is not valid for this call")
    try:
        data = base64.urlsafe_b64decode(str(sealed).encode())
        signature, body = data[:32], data[32:]
        if base64.urlsafe_b64encode(data).decode() != sealed:  # more was appended, for example
            raise refused
        if not hmac.compare_digest(signature, await _sign(ask, body)):
            raise refused
        state = msgspec.json.decode(body, type=State)
    except (binascii.Error, UnicodeEncodeError, msgspec.DecodeError):
        raise refused from None
    is_own = (state.who, state.call) == (ask.calls.caller.credential, _digest(ask))
    if not is_own or state.until < time.time():
        raise refused
    return state.fid


async def _sign(ask: Ask, body: bytes) -> bytes:
    state = ask.calls.request.app.state
    if "mcp_secret" not in state:
        state.mcp_secret = await ask.calls.parts.store.secrets.own("mcp")
    secret: bytes = state.mcp_secret
    return hmac.new(secret, body, hashlib.sha256).digest()


def _digest(ask: Ask) -> str:
    params = ask.message.params
    asked = [ask.service, params.get("name"), params.get("arguments")]
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()
