"""What a person or a key may do now, found by the name that their executions have."""

import time

from koco.control.access.caller import Caller
from koco.errors import NotFoundError
from koco.store.store import Store


async def of(store: Store, name: str) -> Caller | None:
    """Return the caller of a name, with the present rights; None if there is none any more.

    Keys and users share one set of names. An expired key and a user who may not log in have no
    rights.
    """
    try:
        key = await store.keys.get(name)
    except NotFoundError:
        user = await store.users.find(name)
        if user is None or not user.active:
            return None
        return Caller.of(user)
    if key.expires is not None and key.expires <= time.time():
        return None
    return Caller.of(key)
