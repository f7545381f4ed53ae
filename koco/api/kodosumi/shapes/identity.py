"""Ids of users in Kodosumi's form, a UUID, made from their names."""

import uuid

#: Names of koco's keys and users are unique together, so one namespace is enough.
_NAMESPACE = uuid.UUID("6b6f636f-6b6f-4d6f-9375-6d6975736572")


def role_id(name: str) -> str:
    """Return the UUID of the key or user of a name. It never changes."""
    return str(uuid.uuid5(_NAMESPACE, name))
