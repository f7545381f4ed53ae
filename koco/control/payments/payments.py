"""Jobs that are launched once they are paid, from the order to the submission of the result.

Each step is committed before the next one is taken, so a job goes on where it was if the control
plane is restarted. A payment service tells nobody when money arrives. So it is asked from time to
time while a job is open, and not at all while none is.
"""

import asyncio
import logging
import time
from typing import Any

from koco.control.executions.launcher import Launches
from koco.control.payments import result_text
from koco.control.payments.hashes import hash_output
from koco.control.payments.payment_service import PaymentService
from koco.control.services.catalog import Catalog, Entry
from koco.control.settings import Settings
from koco.control.tasks import Tasks
from koco.errors import InputsError, KocoError, LimitError, NotFoundError
from koco.events.model import Status
from koco.manifest.descriptions import KODOSUMI
from koco.store.executions.repository import new_fid
from koco.store.model import AuditEntry, Payment, PaymentState
from koco.store.store import Store

log = logging.getLogger(__name__)

#: The state of a payment on the blockchain when its money is there.
_LOCKED = "FundsLocked"
#: How long after the deadline a payment may still arrive, because blocks take their time (s).
_LATE_S = 900.0
#: How long settled payments are kept (seconds).
_KEPT_S = 180 * 86_400.0
#: How many payments are looked at at once.
_AT_ONCE = 8
#: Refusals of a launch that another try would not change.
_FINAL = (InputsError, LimitError)


class Payments:
    """The paid jobs of one control plane."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        launches: Launches,
        *,
        service: PaymentService,
        settings: Settings,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._launches = launches
        self._service = service
        self._settings = settings
        self._tasks = Tasks("the payments")
        #: Set when there is a new job.
        self._news = asyncio.Event()

    async def hold(
        self,
        entry: Entry,
        inputs: dict[str, Any],
        *,
        user: str,
        identifier: str,
        input_hash: str,
        agent: str,
        network: str,
        about: dict[str, Any],
    ) -> Payment:
        """Commit a job that is launched once it is paid. Its execution will have its fid.

        `about` holds further fields for the execution's `meta` event.

        Raises as `PaymentService.request`, and nothing is committed then.
        """

        async def commit() -> Payment:
            terms = await self._service.request(
                agent=agent, network=network, input_hash=input_hash, identifier=identifier
            )
            payment = Payment(
                fid=new_fid(),
                flow=entry.name,
                user=user,
                identifier=identifier,
                input_hash=input_hash,
                inputs=inputs,
                terms=terms,
                created=time.time(),
                about=about,
            )
            await self._store.payments.add(payment)
            self._news.set()
            return payment

        return await self._tasks.finish(commit())

    def start(self) -> None:
        """Carry the open payments on, from now on and without end."""
        self._tasks.keep(self._keep)

    async def _keep(self) -> None:
        while True:
            self._news.clear()
            payments = await self._store.payments.open()
            if not payments:
                await self._store.payments.forget(time.time() - _KEPT_S)
                await self._news.wait()
                continue
            await self.look(payments)
            await asyncio.sleep(self._settings.masumi_poll_s)

    async def look(self, payments: list[Payment]) -> None:
        """Carry some payments on as far as they go now."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(payment: Payment) -> None:
            async with turns:
                try:
                    await self._advance(payment)
                except KocoError as exc:
                    log.warning("the payment of %s waits: %s", payment.fid, exc)

        async with asyncio.TaskGroup() as group:
            for payment in payments:
                group.create_task(one(payment))

    async def _advance(self, payment: Payment) -> None:
        match payment.state:
            case PaymentState.AWAITING:
                await self._check(payment)
            case PaymentState.PAID:
                await self._launch(payment)
            case PaymentState.LAUNCHED:
                await self._submit(payment)

    async def _check(self, payment: Payment) -> None:
        state = await self._service.state(payment.terms)
        if state == _LOCKED:
            await self._store.payments.move(payment.fid, payment.state, PaymentState.PAID)
            await self._launch(payment)
        elif state is not None:
            await self._fail(payment, f"its payment is {state}")
        elif _is_over(payment.terms.pay_by, _LATE_S):
            await self._fail(payment, "it was not paid in time")

    async def _launch(self, payment: Payment) -> None:
        if await self._store.executions.find(payment.fid) is None:
            try:
                await self._create(payment)
            except _FINAL as exc:
                await self._fail(payment, f"it was paid, and could not be launched: {exc.message}")
                return
            except KocoError as exc:
                if not _is_over(payment.terms.submit_by):
                    raise
                await self._fail(payment, f"it could not be launched in time: {exc.message}")
                return
        await self._store.payments.move(payment.fid, PaymentState.PAID, PaymentState.LAUNCHED)

    async def _create(self, payment: Payment) -> None:
        entry = self._catalog.find(payment.flow)
        await self._launches.launch(
            entry,
            payment.inputs,
            user=payment.user,
            about=payment.about,
            audited=AuditEntry(action="launch", who=payment.user, detail={"paid": True}),
            as_browser=entry.flow.dialect == KODOSUMI,
            fid=payment.fid,
        )

    async def _submit(self, payment: Payment) -> None:
        """Submit the result of an execution that has ended."""
        try:
            snapshot = await self._store.snapshots.get(payment.fid, outcome=True, locks=False)
        except NotFoundError:
            await self._fail(payment, "its execution was deleted")
            return
        status = snapshot.execution.status
        if not status.is_final:
            return
        if status is not Status.FINISHED:
            await self._fail(payment, f"its execution ended as {status}")
            return
        text = result_text.of(snapshot.payload)
        escaped = self._settings.masumi_escaped_hash
        result_hash = hash_output(text, payment.identifier, escaped=escaped)
        try:
            await self._service.submit(payment.terms, result_hash)
        except KocoError as exc:
            if not _is_over(payment.terms.submit_by):
                raise
            await self._fail(payment, f"its result could not be submitted in time: {exc.message}")
            return
        await self._store.payments.move(payment.fid, payment.state, PaymentState.SUBMITTED)

    async def _fail(self, payment: Payment, cause: str) -> None:
        log.warning("the paid job %s of %s failed: %s", payment.fid, payment.flow, cause)
        now = await self._store.payments.get(payment.fid)
        if now is not None:
            await self._store.payments.move(
                payment.fid, now.state, PaymentState.FAILED, cause=cause
            )


def _is_over(deadline_ms: int, late_s: float = 0.0) -> bool:
    return time.time() > deadline_ms / 1000 + late_s
