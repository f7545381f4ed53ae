"""Jobs that are launched once they are paid."""

from koco.store.engine.protocol import Connection
from koco.store.model import Payment, PaymentState
from koco.store.sql.repository import Repository
from koco.store.sql.table import Table

_PAYMENTS = Table("payments", Payment, json=("terms",), payloads=("inputs", "about"), key=("fid",))
#: The states in which something is still to be done. The index has them in this order, too.
_OPEN = "state IN ('awaiting', 'paid', 'launched')"


class Payments(Repository):
    """Payments by the fid of their job."""

    async def add(self, new: Payment) -> None:
        """Commit a job that waits for its payment."""
        await self._add(lambda db: _PAYMENTS.insert(db, new))

    async def get(self, fid: str) -> Payment | None:
        """Return the payment of a job, or None if it has none."""
        return await self._read(lambda db: _PAYMENTS.first(db, "WHERE fid = :fid", fid=fid))

    async def open(self) -> list[Payment]:
        """Return the payments with which something is to be done, oldest first."""
        return await self._read(
            lambda db: _PAYMENTS.select(db, f"WHERE {_OPEN} ORDER BY created, fid")
        )

    async def move(
        self, fid: str, former: PaymentState, state: PaymentState, *, cause: str | None = None
    ) -> bool:
        """Change the state of a payment; False if it is in another one than `former`."""

        def change(db: Connection) -> bool:
            changes = {"state": state, "cause": cause}
            where = "WHERE fid = :fid AND state = :former"
            return _PAYMENTS.update(db, where, changes, fid=fid, former=former) > 0

        return await self._write(change)

    async def forget(self, before: float) -> None:
        """Delete the payments from before a time with which nothing is to be done."""
        where = f"WHERE NOT {_OPEN} AND created < :before"
        await self._write(lambda db: _PAYMENTS.delete(db, where, before=before))
