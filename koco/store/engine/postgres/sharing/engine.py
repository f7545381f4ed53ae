"""The engine for a database that several processes share, of which one leads."""

import asyncio
import secrets
from contextlib import closing, suppress

import psycopg

from koco.store.engine.postgres import rights
from koco.store.engine.postgres.engine import PostgresEngine
from koco.store.engine.postgres.sharing import roster, signals
from koco.store.engine.postgres.sharing.candidacy import Candidacy
from koco.store.engine.postgres.sharing.claim import Claim
from koco.store.engine.postgres.sharing.listener import Listener
from koco.store.engine.postgres.writer import Writer
from koco.store.members import Leader, Member


class SharedEngine(PostgresEngine):
    """An `Engine` in the database at a URL, for the process of this name."""

    def __init__(self, url: str, member: str) -> None:
        super().__init__(url)
        self._identity = roster.Identity(member)
        #: Marks what this process tells, so that it does not hear itself.
        self._by = secrets.token_hex(6)
        self._leading = asyncio.Lock()
        self._epoch: int | None = None
        self._claim: Claim | None = None
        self._is_closing = False

    @property
    def is_shared(self) -> bool:
        """True."""
        return True

    async def open(self) -> None:
        """Connect, migrate older tables, and join the members."""
        await super().open()
        self._listener = Listener(self._connect, self._identity, self._hear, by=self._by)
        try:
            await asyncio.to_thread(self._join)
        except BaseException as exc:
            await super().close()
            if isinstance(exc, psycopg.Error):
                raise self._not_opened(exc) from exc
            raise

    async def close(self) -> None:
        """Commit pending changes and leave. If this process leads, another one may at once."""
        self._is_closing = True
        self._listener.close()
        await super().close()
        if self._claim is not None:
            self._claim.close()

    async def announce(self, *, url: str, node: str = "") -> None:
        """Enter where this process is reached among the members."""
        self._identity.url, self._identity.node = url, node or self._identity.node
        await self.write(self._identity.announce)

    async def lead(self, *, url: str = "") -> int:
        """Wait in the server's queue for the leader's lock."""
        async with self._leading:
            if self._writer.deposed is not None:
                raise self._writer.deposed
            if self._epoch is None:
                self._epoch = await self._win(url)
            return self._epoch

    async def leader(self) -> Leader | None:
        """Return who leads, or did so last."""
        return await self.read(roster.leader)

    async def members(self) -> list[Member]:
        """Return the processes that are connected."""
        return await self.read(roster.members)

    def _new_writer(self) -> Writer:
        loop = asyncio.get_running_loop()

        def fall() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._fall)

        return Writer(
            self._connect,
            rights.Shared(self.location),
            location=self.location,
            ending=lambda db: signals.ending(db, self._by),
            on_deposed=fall,
            on_moved=self._move,
        )

    def _move(self) -> None:
        super()._move()
        self._listener.move()

    def _join(self) -> None:
        with closing(self._connect()) as db:
            roster.prepare(db)
        self._listener.open()

    async def _win(self, url: str) -> int:
        candidacy = Candidacy(
            self._connect,
            name=self._identity.name,
            url=url,
            location=self.location,
            on_moved=self._move,
        )
        try:
            db, right = await candidacy.win()
        except psycopg.Error as exc:
            raise self._not_opened(exc) from exc
        self._claim = Claim(
            db,
            right,
            connect=self._connect,
            look=lambda: self._quick.read(roster.epoch, snapshot=False),
            location=self.location,
            on_lost=lambda: self._writer.depose(rights.deposed(self.location)),
            on_moved=self._move,
        )
        await asyncio.to_thread(self._writer.adopt, right)
        return right.epoch

    def _fall(self) -> None:
        if not self._is_closing:
            self.on_deposed()

    def _hear(self, heard: signals.Heard) -> None:
        if heard.has_gap:
            self.on_gap()
        if heard.news:
            self.on_news(heard.news)
        if heard.fids:
            self.on_touched(heard.fids)
