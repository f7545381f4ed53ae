"""The parts that say who may do what: keys, users, their sessions and limits."""

from collections.abc import Callable
from typing import NamedTuple

from koco.control.access.keys import Keys
from koco.control.access.login_throttle import Attempts
from koco.control.access.open_streams import Streams
from koco.control.access.passwords import Passwords
from koco.control.access.rate_limit import Rates
from koco.control.access.sessions import Sessions
from koco.control.access.users import Users
from koco.control.settings import Settings
from koco.store.store import Store


class Access(NamedTuple):
    """The parts of `koco.control.access` that share streams, passwords and failed logins."""

    keys: Keys
    users: Users
    sessions: Sessions
    attempts: Attempts
    streams: Streams
    rates: Rates

    @classmethod
    def over(cls, store: Store, settings: Settings, *, forget: Callable[[str], None]) -> "Access":
        """Return them over a store. `forget` is called with each owner that is removed."""
        streams = Streams(settings)
        attempts, passwords = Attempts(), Passwords()
        users = Users(store, passwords, attempts, end=streams.end, forget=forget)
        return cls(
            keys=Keys(store, end=streams.end, forget=forget),
            users=users,
            sessions=Sessions(store, users, passwords, settings, end=streams.end),
            attempts=attempts,
            streams=streams,
            rates=Rates(settings),
        )
