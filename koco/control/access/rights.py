"""What a person or a key may do now, found by the name that their executions have."""

import time

from koco.control.access.caller import Caller
from koco.errors import NotFoundError
from koco.store.model import Key, User
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
        return _caller(user)
    if key.expires is not None and key.expires <= time.time():
        return None
    return _caller(key)


def _caller(of: Key | User) -> Caller:
    return Caller(
        name=of.name,
        scopes=frozenset(of.scopes),
        flows=of.flows,
        sees_all=of.sees_all,
        made=of.created,
    )
