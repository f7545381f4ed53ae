"""The control plane's actor, found by its name from anywhere in the cluster."""

import asyncio
from typing import Any

from koco.errors import UnreachableError
from koco.events import wire

#: The namespace of all of koco's actors.
NAMESPACE = "koco"
#: The control plane's actor.
CONTROL = "control"

#: Pauses between two tries while the control plane restarts (seconds).
_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5, 0.5, 0.5, 1.0)


async def ask(question: str, arguments: dict[str, Any]) -> Any:
    """Ask the control plane something that is about no execution; return its answer.

    Raises:
        UnreachableError: there is no control plane, or it does not answer.
        KocoError: what it answers with.
    """
    from ray.exceptions import ActorUnavailableError, RayActorError

    try:
        # In a thread: looking an actor up may block for a minute.
        control = await asyncio.to_thread(_actor)
        for pause_s in (*_PAUSES_S, None):
            try:
                blob = wire.encode_question("", question, arguments)
                return wire.decode_answer(await control.ask.remote(blob))
            except ActorUnavailableError:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
    except (ValueError, RayActorError) as exc:
        raise UnreachableError(f"the control plane does not answer: {exc}") from exc


def _actor() -> Any:
    import ray

    return ray.get_actor(CONTROL, namespace=NAMESPACE)
