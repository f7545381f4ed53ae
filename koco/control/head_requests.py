"""Requests to the control plane's actor that only the user of its head may make.

Any code in the cluster can call the actor. So such a request has a proof (see `access.head_key`),
and one without is refused and written to the audit log.
"""

from typing import Any

from koco.control.access.head_key import HEAD, SOMEBODY, HeadKey, refusal, setting_names
from koco.control.container import Parts
from koco.errors import NotAllowedError
from koco.store.model import AuditEntry


async def carry_out(parts: Parts, head_key: HeadKey, blob: bytes) -> bool:
    """Carry out a request, as `head_key.sign_request` encodes it.

    `admit` makes a key, by its SHA-256 (`digest`), the admin key if there is none or if `recover`
    is set, and returns whether the key is known afterwards. `configure` sets `values`
    (`koco.control.settings`), for now and later.

    Raises:
        NotAllowedError: the signature is wrong. Nothing is changed, and the audit log has an entry.
    """
    try:
        action, arguments = head_key.open_request(blob)
    except NotAllowedError as exc:
        raise await _refused(parts, "operate") from exc
    if action == "admit":
        return await parts.keys.admit(arguments["digest"], recover=arguments["recover"])
    values = arguments["values"]
    await parts.store.settings.put(values)
    parts.settings.change(values)
    parts.supervisor.pump()  # a raised limit may let executions begin
    entry = AuditEntry(action="set", who=HEAD, target=" ".join(values), detail=values)
    await parts.audit.note(entry)
    return True


async def admit(parts: Parts, digest: bytes, *, recover: bool) -> bool:
    """Return whether a key, given by its SHA-256, is known.

    In older koco it also made the key the admin key, for any code in the cluster that asked.

    Raises:
        NotAllowedError: the key would have to be made the admin key.
    """
    if recover:
        raise await _refused(parts, "recover_admin")
    return await parts.store.keys.find(digest) is not None


async def configure(parts: Parts, values: dict[str, Any]) -> None:
    """Refuse to change settings, as older koco did for any code in the cluster."""
    raise await _refused(parts, "set", setting_names(values))


async def _refused(parts: Parts, action: str, target: str = "") -> NotAllowedError:
    """Write a request without proof to the audit log; return the error for the caller."""
    error = refusal()
    entry = AuditEntry(action=action, who=SOMEBODY, target=target, outcome=error.code)
    await parts.audit.note(entry)
    return error
