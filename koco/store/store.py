"""The store: a repository for each subject, over one engine."""

from collections.abc import Callable
from pathlib import Path

from koco.errors import KocoError, UsageError
from koco.store import address, transfer
from koco.store.audit import Audit
from koco.store.engine.protocol import Engine
from koco.store.engine.sqlite.engine import SqliteEngine
from koco.store.executions.changes import Changes
from koco.store.executions.repository import Executions
from koco.store.executions.snapshots import Snapshots
from koco.store.files import Files
from koco.store.keys import Keys
from koco.store.limits import Limits
from koco.store.locks import Locks
from koco.store.model import News
from koco.store.payments import Payments
from koco.store.releases import Releases
from koco.store.replies import Replies
from koco.store.retention import Retention
from koco.store.schedules import Schedules
from koco.store.secrets import Secrets
from koco.store.settings import Settings
from koco.store.steps import Steps
from koco.store.stream.events import Events
from koco.store.uploads import Uploads, named_blobs
from koco.store.usage import Usage
from koco.store.users import Users
from koco.store.webhooks.deliveries import Deliveries
from koco.store.webhooks.webhooks import Webhooks


class Store:
    """A durable store on an engine, which must be opened first."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.executions = Executions(engine)
        self.snapshots = Snapshots(engine)
        self.events = Events(engine)
        self.changes = Changes(engine)
        self.locks = Locks(engine)
        self.steps = Steps(engine)
        self.files = Files(engine)
        self.uploads = Uploads(engine)
        self.releases = Releases(engine)
        self.schedules = Schedules(engine)
        self.keys = Keys(engine)
        self.users = Users(engine)
        self.secrets = Secrets(engine)
        self.settings = Settings(engine)
        self.limits = Limits(engine)
        self.retention = Retention(engine)
        self.replies = Replies(engine)
        self.audit = Audit(engine)
        self.usage = Usage(engine)
        self.webhooks = Webhooks(engine)
        self.deliveries = Deliveries(engine)
        self.payments = Payments(engine)

    @classmethod
    def at(cls, place: Path | str, member: str = "") -> "Store":
        """Return the store in a file, or in the PostgreSQL database at a URL.

        The directory of a file is created when it is opened. With the name of a `member`, a store
        in PostgreSQL is shared with other processes, each with a name of its own: see `Engine`.

        Raises:
            KocoError: psycopg is not installed.
            UsageError: a file is to be shared.
        """
        if isinstance(place, str) and address.is_one(place):
            return cls(_postgres(place, member))
        if member:
            raise UsageError(
                f"{place} is a file, which only one process can have open",
                hint="several share a store in PostgreSQL: `--store postgresql://…`",
            )
        return cls(SqliteEngine(Path(place)))

    def listen(self, hear: Callable[[list[News]], None]) -> None:
        """Tell `hear` what changes of executions have done to others: see `koco.store.model.Topic`.

        It is called on the loop once the changes are committed, before their callers go on. In a
        shared store, it also hears of the changes of other processes.
        Whoever has just parked an execution may hear that it was woken before `park` returns.
        """
        self.engine.on_news = hear

    async def copy(self, to: Path) -> list[str]:
        """Copy the store into a new file while it is used; return the blobs that the copy names.

        Raises:
            StoreError: it could not be copied. No file is left.
        """
        return await self.engine.copy(to, named_blobs)

    async def open(self) -> None:
        """Open it, migrate its tables, and keep every other control plane out; see `Engine`.

        Raises:
            ConflictError: a copy into it was interrupted. For others see `Engine.open`.
        """
        await self.engine.open()
        if await self.engine.read(transfer.is_part):
            await self.engine.close()
            raise transfer.unfinished(self.engine.location)

    async def close(self) -> None:
        """Finish pending changes and release it."""
        await self.engine.close()


def put_aside(url: str, name: str) -> None:
    """Put the store in a database aside: its schema gets another name. Blocks.

    Raises:
        ConflictError: a control plane has it open.
        StoreError: it cannot be done.
    """
    from koco.store.engine.postgres import aside  # psycopg, which only stores in PostgreSQL need

    aside.put_aside(url, name)


def _postgres(url: str, member: str) -> Engine:
    try:
        # psycopg, which only stores in PostgreSQL need.
        from koco.store.engine.postgres.engine import PostgresEngine
        from koco.store.engine.postgres.sharing.engine import SharedEngine
    except ModuleNotFoundError as exc:
        raise KocoError(
            f"a store in PostgreSQL needs psycopg, which is not installed here: {exc}",
            hint="install koco with its extra `postgresql`: pip install 'koco-deploy[postgresql]'",
        ) from exc
    return SharedEngine(url, member) if member else PostgresEngine(url)
