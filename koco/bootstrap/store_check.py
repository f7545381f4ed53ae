"""Reach a store in a database before anything starts for it."""

from koco.store.store import Store
from koco.store.version import require_known


def reach(url: str) -> None:
    """Check that this machine reaches the database at a URL, and that this koco can use it. Blocks.

    Raises:
        StoreError: it cannot be reached, or not be used.
        ConflictError: a newer koco has written it.
    """
    require_known(Store.at(url).engine.version())
