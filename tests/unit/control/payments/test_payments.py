"""Jobs that are launched once they are paid."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from koco.control.executions.launcher import Launches
from koco.control.executions.url_inputs import UrlInputs
from koco.control.payments import payments
from koco.control.payments.hashes import hash_input
from koco.control.payments.payment_service import TOKEN as SECRET
from koco.control.services.catalog import Entry
from koco.errors import (
    AnswerError,
    ConflictError,
    InputsError,
    KocoError,
    NoRoomError,
    NotFoundError,
    TooManyError,
    UnreachableError,
    UsageError,
)
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.forms import Model
from koco.store.model import Payment, PaymentState
from koco.store.store import Store
from tests.support.api_server import Api, serving
from tests.support.masumi_service import TOKEN, VKEY, PaymentService, serving_payments
from tests.support.releases import flow
from tests.support.whole_api import complete

FORM = [{"type": "text", "name": "who", "required": True}]
ORDER = "00112233445566"


@dataclass
class Jobs:
    """An API with a payment service, and what a test asks of them."""

    api: Api
    service: PaymentService

    def order(self, identifier: str = ORDER, **inputs: Any) -> Payment:
        entry = self.api.parts.catalog.find("svc/flow")
        given = inputs or {"who": "Ada"}
        payment: Payment = self.api.call(
            self.api.parts.payments.hold(
                entry,
                given,
                user="ada",
                identifier=identifier,
                input_hash=hash_input(given, identifier),
                agent="a" * 60,
                network="Preprod",
                about={"mip003": {"identifier": identifier}},
            )
        )
        return payment

    def look(self) -> None:
        """Carry all payments on once."""
        store: Store = self.api.parts.store
        self.api.call(self.api.parts.payments.look(self.api.call(store.payments.open())))

    def now(self, payment: Payment) -> Payment:
        found: Payment = self.api.call(self.api.parts.store.payments.get(payment.fid))
        return found

    def end(self, payment: Payment, result: Any = None, *, status: Status | None = None) -> None:
        store: Store = self.api.parts.store

        async def finish() -> None:
            if status is not None:
                await store.executions.settle(payment.fid, status)
                return
            await store.executions.assign(payment.fid, "r")
            begun = line.encode(Kind.STATUS, {"status": Status.RUNNING})
            over = line.encode(Kind.FINAL, result)
            for at, body, state in ((1, begun, Status.RUNNING), (2, over, Status.FINISHED)):
                batch = Batch(payment.fid, "p", at, 1, body, runner="r", status=state)
                await store.events.append([batch])

        self.api.call(finish())

    def forge(self, payment: Payment, **times: int) -> None:
        """Change the deadlines of a payment."""
        terms = msgspec.json.encode(msgspec.structs.replace(payment.terms, **times)).decode()
        self.api.sql(f"UPDATE payments SET terms = '{terms}' WHERE fid = '{payment.fid}'")
        self.api.parts.payments._jobs.clear()  # as after a restart


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A service whose flow takes a name, and a payment service."""
    with serving(tmp_path) as api, serving_payments() as service:
        api.call(complete(api, flows=[flow(form=FORM)]))
        api.parts.settings.masumi_url = service.url
        api.call(api.parts.vault.put(SECRET, TOKEN, by="ada"))
        yield Jobs(api, service)


def test_a_job_is_launched_once_it_is_paid(jobs: Jobs) -> None:
    """Under the fid that its purchaser was told, and not before."""
    payment = jobs.order()
    store: Store = jobs.api.parts.store
    jobs.look()
    assert jobs.now(payment).state is PaymentState.AWAITING
    with pytest.raises(NotFoundError):
        jobs.api.call(store.executions.get(payment.fid))
    jobs.service.pay()
    jobs.look()
    execution = jobs.api.call(store.executions.get(payment.fid))
    assert (execution.fid, execution.user, execution.inputs) == (payment.fid, "ada", {"who": "Ada"})
    assert jobs.now(payment).state is PaymentState.LAUNCHED


def test_the_purchaser_is_told_what_the_service_says(jobs: Jobs) -> None:
    """Its identifier, the seller's key and the times."""
    began = time.time()
    payment = jobs.order()
    [asked] = jobs.service.asked["/api/v1/payment/"]
    terms = payment.terms
    assert asked["agentIdentifier"] == "a" * 60
    assert (asked["network"], asked["identifierFromPurchaser"]) == ("Preprod", ORDER)
    assert asked["inputHash"] == hashlib.sha256(f'{ORDER};{{"who":"Ada"}}'.encode()).hexdigest()
    assert (list(jobs.service.states), terms.seller_vkey) == ([terms.blockchain_identifier], VKEY)
    assert abs(terms.pay_by / 1000 - began - 12 * 3600) < 60
    assert abs(terms.submit_by / 1000 - began - 24 * 3600) < 60
    assert (terms.unlock, terms.dispute_unlock) == (terms.submit_by + 1000, terms.submit_by + 2000)


@pytest.mark.parametrize("escaped", [False, True])
def test_the_hash_of_the_result_is_submitted(jobs: Jobs, escaped: bool) -> None:
    """Of the text that the purchaser gets, as it is or as it stands within JSON."""
    jobs.api.parts.settings.masumi_escaped_hash = escaped
    payment = jobs.order()
    jobs.service.pay()
    jobs.look()
    jobs.look()
    assert not jobs.service.results
    jobs.end(payment, {"type": "markdown", "body": 'a "b"'})
    jobs.look()
    shown = 'a \\"b\\"' if escaped else 'a "b"'
    expected = hashlib.sha256(f"{ORDER};{shown}".encode()).hexdigest()
    assert jobs.service.results == {payment.terms.blockchain_identifier: expected}
    assert jobs.now(payment).state is PaymentState.SUBMITTED


def test_a_job_that_is_not_paid_in_time_fails(jobs: Jobs) -> None:
    """Some time after its deadline, because blocks take theirs."""
    payment = jobs.order()
    jobs.forge(payment, pay_by=round((time.time() - 10) * 1000))
    jobs.look()
    assert jobs.now(payment).state is PaymentState.AWAITING
    jobs.forge(payment, pay_by=round((time.time() - 3600) * 1000))
    jobs.look()
    now = jobs.now(payment)
    assert (now.state, now.cause) == (PaymentState.FAILED, "it was not paid in time")


def test_a_payment_that_is_wrong_launches_nothing(jobs: Jobs) -> None:
    """The cause has the state that the blockchain gives it."""
    payment = jobs.order()
    jobs.service.pay("FundsOrDatumInvalid")
    jobs.look()
    now = jobs.now(payment)
    assert (now.state, now.cause) == (PaymentState.FAILED, "its payment is FundsOrDatumInvalid")


@pytest.mark.parametrize("status", [Status.ERROR, Status.CANCELLED])
def test_nothing_is_submitted_for_a_job_without_a_result(jobs: Jobs, status: Status) -> None:
    """So its purchaser gets the money back."""
    payment = jobs.order()
    jobs.service.pay()
    jobs.look()
    jobs.end(payment, status=status)
    jobs.look()
    now = jobs.now(payment)
    assert (now.state, now.cause) == (PaymentState.FAILED, f"its execution ended as {status}")
    assert not jobs.service.results


def test_a_job_that_the_form_refuses_fails_with_the_reason(jobs: Jobs) -> None:
    """A deploy may have changed the form after the purchaser was told the price."""
    payment = jobs.order(nobody="Ada")
    jobs.service.pay()
    jobs.look()
    now = jobs.now(payment)
    assert now.state is PaymentState.FAILED
    assert "could not be launched" in str(now.cause)
    assert "who: is required" in str(now.cause)


def test_a_paid_job_waits_for_its_flow(jobs: Jobs) -> None:
    """If its service is being deployed, or has been removed for a while."""
    payment = jobs.order()
    jobs.service.pay()
    catalog = jobs.api.parts.catalog
    release = catalog.release("svc")
    catalog.remove("svc")
    jobs.look()
    assert jobs.now(payment).state is PaymentState.PAID
    catalog.put(release)
    jobs.look()
    assert jobs.now(payment).state is PaymentState.LAUNCHED


def test_a_paid_job_waits_for_the_service_to_answer(jobs: Jobs) -> None:
    """Neither its launch nor its result is lost if the payment service is down for a while."""
    payment = jobs.order()
    jobs.service.pay()
    jobs.service.broken = 503
    jobs.look()
    assert jobs.now(payment).state is PaymentState.AWAITING
    jobs.service.broken = 0
    jobs.look()
    jobs.end(payment, "x")
    jobs.service.broken = 500
    jobs.look()
    assert jobs.now(payment).state is PaymentState.LAUNCHED
    jobs.service.broken = 0
    jobs.look()
    assert jobs.now(payment).state is PaymentState.SUBMITTED


def test_a_result_that_cannot_be_submitted_in_time_is_noted(jobs: Jobs) -> None:
    """After the deadline, the service takes none."""
    payment = jobs.order()
    jobs.service.pay()
    jobs.look()
    jobs.end(payment, "x")
    jobs.forge(payment, submit_by=1)
    jobs.service.pay("RefundWithdrawn")
    jobs.look()
    now = jobs.now(payment)
    assert now.state is PaymentState.FAILED
    # Not what the payment service said: purchasers without a key see it.
    assert now.cause == "its result could not be submitted in time"


def test_a_job_that_was_launched_is_not_launched_again(jobs: Jobs) -> None:
    """Also if the control plane died after the launch and before it noted it."""
    payment = jobs.order()
    jobs.service.pay()
    jobs.look()
    jobs.api.sql("UPDATE payments SET state = 'paid'")
    jobs.look()
    assert jobs.now(payment).state is PaymentState.LAUNCHED
    page = jobs.api.call(jobs.api.parts.store.executions.page())
    assert [each.fid for each in page.items] == [payment.fid]


def test_a_job_whose_execution_was_deleted_fails(jobs: Jobs) -> None:
    """There is no result to submit."""
    payment = jobs.order()
    jobs.service.pay()
    jobs.look()
    jobs.end(payment, "x")
    jobs.api.call(jobs.api.parts.store.executions.delete(payment.fid))
    jobs.look()
    assert jobs.now(payment).cause == "its execution was deleted"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"masumi_url": ""}, ConflictError, "has no payment service"),
        ({"masumi_url": "http://127.0.0.1:9/api/v1"}, UnreachableError, "does not answer"),
        ({"broken": 500}, AnswerError, "answers 500"),
        ({"broken": 404}, AnswerError, "registered on Preprod"),
        ({"identifier": "order-1"}, UsageError, "must be in hex format"),
        ({"token": "wrong"}, ConflictError, "refuses the token"),
        ({"token": None}, ConflictError, "no token"),
    ],
)
def test_an_order_without_terms_is_refused(
    jobs: Jobs, change: dict[str, Any], error: type[KocoError], said: str
) -> None:
    """With the reason, and nothing is kept of it."""
    jobs.api.parts.settings.masumi_url = change.get("masumi_url", jobs.service.url)
    jobs.service.broken = change.get("broken", 0)
    if "token" in change:
        jobs.api.call(jobs.api.parts.vault.remove(SECRET))
    if change.get("token"):
        jobs.api.call(jobs.api.parts.vault.put(SECRET, change["token"], by="ada"))
    with pytest.raises(error, match=said):
        jobs.order(change.get("identifier", ORDER))
    assert jobs.api.call(jobs.api.parts.store.payments.open()) == {}


def test_an_order_is_refused_if_it_cannot_be_kept(jobs: Jobs) -> None:
    """The disk is full, and the purchaser must not pay for what is forgotten."""

    def refuse() -> None:
        raise NoRoomError("the disk is full")

    jobs.api.parts.store.engine.require_room = refuse
    with pytest.raises(NoRoomError):
        jobs.order()


def test_payments_go_on_by_themselves(jobs: Jobs) -> None:
    """While there are any, also those of a control plane that has ended."""
    jobs.api.parts.settings.masumi_poll_s = 0.01
    first = jobs.order()
    jobs.service.pay()

    async def start() -> None:
        jobs.api.parts.payments.start()

    jobs.api.call(start())
    _until(lambda: jobs.now(first).state is PaymentState.LAUNCHED)
    jobs.end(first, "x")
    _until(lambda: jobs.now(first).state is PaymentState.SUBMITTED)
    asked, looked = jobs.service.asked["/api/v1/payment/resolve-blockchain-identifier"], []
    kept = jobs.api.parts.store.payments
    find = kept.open
    kept.open = lambda: looked.append(1) or find()
    before = len(asked)
    time.sleep(0.2)
    # Nothing is asked while nothing is open, and nothing is looked for, apart from one last time.
    assert (len(asked), len(looked) <= 1) == (before, True)
    second = jobs.order("00112233445577")
    jobs.service.pay()
    _until(lambda: jobs.now(second).state is PaymentState.LAUNCHED)


def test_only_so_many_jobs_wait_for_their_payments(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orders take no key, and the payment service is asked for each."""
    monkeypatch.setattr(payments, "MOST_UNPAID", 2)
    first, _ = jobs.order(), jobs.order()
    asked = jobs.service.asked["/api/v1/payment/"]
    with pytest.raises(TooManyError):
        jobs.order()
    assert len(asked) == 2
    jobs.look()
    with pytest.raises(TooManyError):
        jobs.order()
    jobs.service.states[first.terms.blockchain_identifier] = "FundsLocked"
    jobs.look()
    jobs.look()
    jobs.order()


def test_inputs_are_read_only_to_launch(jobs: Jobs) -> None:
    """Otherwise a few large orders that nobody pays for would fill the memory at each look."""
    payment = jobs.order(who="Ada")
    jobs.look()
    jobs.api.sql("UPDATE payments SET inputs = 'broken'")
    jobs.look()
    jobs.api.sql("""UPDATE payments SET inputs = '{"who": "Bob"}'""")
    jobs.service.pay()
    jobs.look()
    execution = jobs.api.call(jobs.api.parts.store.executions.get(payment.fid))
    assert execution.inputs == {"who": "Bob"}
    assert jobs.now(payment).inputs == {}


def test_a_job_whose_key_was_revoked_is_not_launched(jobs: Jobs) -> None:
    """Neither if it is paid already: without a result, the purchaser gets the money back."""
    unpaid, paid = jobs.order(), jobs.order("00112233445577")
    jobs.service.states[paid.terms.blockchain_identifier] = "FundsLocked"
    jobs.api.sql(f"UPDATE payments SET state = 'paid' WHERE fid = '{paid.fid}'")
    jobs.api.call(jobs.api.parts.keys.revoke("ada"))
    jobs.look()
    for each in (unpaid, paid):
        assert jobs.now(each).state is PaymentState.FAILED
        assert "no access any more" in (jobs.now(each).cause or "")
        assert jobs.api.call(jobs.api.parts.store.executions.find(each.fid)) is None


def test_settled_payments_are_forgotten_in_the_end(jobs: Jobs) -> None:
    """Those with which something is to be done never are."""
    old, new, open_one = (jobs.order(f"0011223344556{each}") for each in range(3))
    jobs.api.sql(f"UPDATE payments SET state = 'failed' WHERE fid <> '{open_one.fid}'")
    jobs.api.sql(f"UPDATE payments SET created = 1 WHERE fid <> '{new.fid}'")
    jobs.api.call(jobs.api.parts.store.payments.forget(2.0))
    found = {each.fid for each in (old, new, open_one) if jobs.api.call(_get(jobs.api, each.fid))}
    assert found == {new.fid, open_one.fid}


async def _get(api: Api, fid: str) -> Payment | None:
    found: Payment | None = await api.parts.store.payments.get(fid)
    return found


def _until(is_so: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_url_that_is_not_fetched_is_refused_before_anything_is_paid(jobs: Jobs) -> None:
    """If the setting forbids it, the launch after the payment could only fail."""
    parts = jobs.api.parts
    nothing: Any = None  # nothing is fetched
    launches = Launches(
        parts.store,
        parts.supervisor,
        parts.catalog,
        endpoints=parts.endpoints,
        files=parts.files,
        urls=UrlInputs(nothing, parts.settings),
    )
    form = Model.from_list([{"type": "file", "name": "notes"}])
    entry = Entry("svc", 2, flow(), form)
    given = {"notes": "https://example.com/a.txt"}
    with pytest.raises(InputsError, match="fetches no URLs"):
        jobs.api.call(launches.check(entry, given))
    parts.settings.url_inputs = True
    jobs.api.call(launches.check(entry, given))
