"""Jobs that are launched once they are paid."""

from koco.store.engine.protocol import Connection
from koco.store.model import PaidJob, Payment, PaymentState
from koco.store.sql.repository import Repository
from koco.store.sql.table import Table

_PAYMENTS = Table("payments", Payment, json=("terms",), payloads=("inputs", "about"), key=("fid",))
_JOBS = Table("payments", PaidJob, json=("terms",))
#: The states in which a job is still to be launched.
_WAITING = (PaymentState.AWAITING, PaymentState.PAID)
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

    async def job(self, fid: str) -> PaidJob | None:
        """Return the same without its inputs."""
        return await self._read(lambda db: _JOBS.first(db, "WHERE fid = :fid", fid=fid))

    async def open(self) -> dict[str, PaymentState]:
        """Return the states of the payments with which something is to be done, oldest first.

        Only an index is read, as this is asked often, and rows may be large.
        """
        look = f"SELECT fid, state FROM payments WHERE {_OPEN} ORDER BY created, fid"
        rows = await self._read(lambda db: db.execute(look, {}).fetchall())
        return {fid: PaymentState(state) for fid, state in rows}

    async def move(
        self, fid: str, former: PaymentState, state: PaymentState, *, cause: str | None = None
    ) -> bool:
        """Change the state of a payment; False if it is in another one than `former`.

        Inputs that are needed no longer are dropped.
        """

        def change(db: Connection) -> bool:
            changes: dict[str, object] = {"state": state, "cause": cause}
            changes |= {} if state in _WAITING else {"inputs": {}}
            where = "WHERE fid = :fid AND state = :former"
            return _PAYMENTS.update(db, where, changes, fid=fid, former=former) > 0

        return await self._write(change)

    async def forget(self, before: float) -> None:
        """Delete the payments from before a time with which nothing is to be done."""
        where = f"WHERE NOT {_OPEN} AND created < :before"
        await self._write(lambda db: _PAYMENTS.delete(db, where, before=before))
