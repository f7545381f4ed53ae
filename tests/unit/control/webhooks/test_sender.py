"""Messages on their way: signed, repeated, refused; a real store and a real receiver."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from koco.control.services.secrets import Vault
from koco.control.settings import Settings
from koco.control.tasks import Tasks
from koco.control.webhooks import retries
from koco.control.webhooks.content import Content
from koco.control.webhooks.orders import Webhooks
from koco.control.webhooks.posting import Answer
from koco.errors import TooManyError
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store.model import FailureEvent, Key, NewExecution, User
from koco.store.store import Store
from koco.store.webhook_model import Delivery, Maker, Webhook
from tests.support.receiver import Receiver, receiving
from tests.support.stores import locked

#: The keys that make webhooks here.
ADA, ROOT = Maker("ada", "2026"), Maker("root", "2026")


class Plane:
    """What a control plane has of webhooks."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store = store
        self.settings = Settings(webhook_networks=("127.0.0.0/8",))
        self.vault = Vault(store, path)
        self.begin()

    def begin(self) -> None:
        self.webhooks = Webhooks(self.store, self.settings, self.vault, url="https://koco.test")
        self.tasks = Tasks("the tests")
        self.store.listen(lambda news: self.webhooks.sender.wake())

    def send(self) -> None:
        self.sending = self.tasks.keep(self.webhooks.sender.keep)

    async def create(self, url: str, name: str = "hook", **more: Any) -> tuple[Webhook, str]:
        return await self.webhooks.create(name, url, **{"by": ADA, "of_all": False, **more})

    async def launch(self, user: str = "ada", **more: Any) -> str:
        new = NewExecution(flow="s/f", service="s", release=1, inputs={}, user=user, **more)
        return (await self.store.executions.create(new))[0].fid

    async def finish(self, result: Any = "done", user: str = "ada", **more: Any) -> str:
        fid = await self.launch(user, **more)
        await self.store.executions.assign(fid, "r")
        final = line.encode(Kind.FINAL, result)
        await self.store.events.append([Batch(fid, "p", 1, 0, b"", "r", Status.RUNNING)])
        await self.store.events.append([Batch(fid, "p", 1, 1, final, "r", Status.FINISHED)])
        return fid

    async def log(self) -> list[Delivery]:
        return (await self.store.deliveries.page()).items

    async def settled(self, count: int) -> list[Delivery]:
        """Return the log once so many attempts were made in all."""
        for _ in range(1000):
            found = await self.log()
            if sum(each.tries for each in found) >= count:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"{count} attempts were not made: {found}")


Body = Callable[[Plane, Receiver], Awaitable[None]]


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Body], None]:
    """Run a coroutine with a plane and a receiver."""

    @asynccontextmanager
    async def planned() -> AsyncIterator[Plane]:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        for name, scopes in (("ada", ("launch",)), ("root", ("admin",))):
            key = Key(name=name, digest=name.encode(), scopes=scopes, created="2026")
            await store.keys.put(key)
        try:
            yield Plane(store, tmp_path)
        finally:
            Tasks.stop()
            await asyncio.sleep(0.02)
            await store.close()

    def run(body: Body) -> None:
        async def main(receiver: Receiver) -> None:
            async with planned() as plane:
                await body(plane, receiver)

        with receiving() as receiver:
            asyncio.run(main(receiver))

    return run


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all pauses be short."""
    monkeypatch.setattr(retries, "PAUSES_S", (0.01, 0.02, 0.03))


async def arrived(receiver: Receiver, count: int) -> list[Any]:
    return await asyncio.to_thread(receiver.wait, count)


def test_a_finished_execution_is_told_with_its_result(check: Any) -> None:
    """The message is signed with the secret that was shown, as its receiver can verify."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        _, secret = await plane.create(f"{receiver.url}/in?x=1")
        plane.send()
        fid = await plane.finish({"greeting": "Hello"})
        [message] = await arrived(receiver, 1)
        assert message.path == "/in?x=1"
        content = message.verify(secret)
        assert content["type"] == "execution.finished"
        assert content["data"] == {
            **{"fid": fid, "flow": "s/f", "status": "finished", "user": "ada", "release": 1},
            **{"url": f"https://koco.test/v1/executions/{fid}", "result": {"greeting": "Hello"}},
        }
        [delivery] = await plane.settled(1)
        assert (delivery.status, delivery.code, delivery.message) == ("delivered", 204, message.id)
        with pytest.raises(WebhookVerificationError):
            message.verify("whsec_" + "A" * 43 + "=")

    check(body)


def test_a_lock_and_an_error_are_told(check: Any) -> None:
    """With what a person is shown, and with the error's type and message."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        await plane.create(receiver.url)
        fid = await plane.launch()
        execution = await plane.store.executions.get(fid)
        lock = await locked(plane.store, execution, "lid1")
        failure = FailureEvent(type="ValueError", message="no", traceback="secret path")
        await plane.store.executions.settle(fid, Status.ERROR, failure)
        plane.send()
        found = {each.content["type"]: each.content for each in await arrived(receiver, 2)}
        asked = found["execution.awaiting"]["data"]
        assert asked["status"] == "awaiting"
        assert asked["lock"] == {
            **{"lid": "lid1", "name": "approval", "expires": line.timestamp(lock.expires)},
            **{"url": f"https://koco.test/v1/executions/{fid}/locks/lid1", "data": {"page": 1}},
        }
        assert found["execution.error"]["data"]["error"] == {"type": "ValueError", "message": "no"}

    check(body)


def test_large_results_are_left_out(check: Any) -> None:
    """The receiver is told so, and may fetch it."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        await plane.create(receiver.url)
        plane.send()
        await plane.finish("x" * 30_000)
        [message] = await arrived(receiver, 1)
        assert message.content["data"]["result_omitted"] is True
        assert len(message.body) < 1000

    check(body)


@pytest.mark.usefixtures("hasty")
def test_a_message_is_sent_until_it_is_taken(check: Any) -> None:
    """All attempts have the same id and content, and a timestamp and a signature of their own."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        _, secret = await plane.create(receiver.url)
        receiver.answers = [(500, {}), (302, {"Location": f"{receiver.url}/elsewhere"})]
        plane.send()
        await plane.finish()
        messages = await arrived(receiver, 3)
        assert len({each.id for each in messages}) == 1
        assert len({each.body for each in messages}) == 1
        assert {each.path for each in messages} == {"/"}
        for each in messages:
            each.verify(secret)
        [delivery] = await plane.settled(3)
        assert (delivery.status, delivery.tries) == ("delivered", 3)
        hook = await plane.store.webhooks.named("hook", by=ADA)
        assert hook.failures == 0
        assert hook.last_ok is not None

    check(body)


@pytest.mark.usefixtures("hasty")
def test_after_the_last_attempt_it_has_failed(check: Any) -> None:
    """The log says why, and it can be sent again by hand: under the same id."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        await plane.create(receiver.url)
        receiver.answers = [(500, {})] * 4
        plane.send()
        await plane.finish()
        await arrived(receiver, 4)
        [delivery] = await plane.settled(4)
        assert (delivery.status, delivery.due) == ("failed", None)
        assert delivery.error == "its receiver answers with status 500"
        assert (await plane.store.webhooks.named("hook", by=ADA)).failures == 4
        assert await plane.webhooks.send_again([delivery.id]) == 1
        messages = await arrived(receiver, 5)
        assert messages[4].id == messages[0].id

    check(body)


def test_gone_disables_a_webhook_until_a_test_succeeds(check: Any) -> None:
    """A receiver that answers 410 is told nothing more."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        hook, secret = await plane.create(receiver.url)
        receiver.answers = [(410, {})]
        plane.send()
        await plane.finish()
        await plane.settled(1)
        await plane.finish()
        assert len(await plane.log()) == 1
        hook = await plane.store.webhooks.named("hook", by=ADA)
        assert hook.disabled is not None
        _, attempt = await plane.webhooks.test(hook)
        assert (attempt.code, attempt.error) == (204, "")
        assert (await plane.store.webhooks.named("hook", by=ADA)).disabled is None
        assert receiver.messages[-1].verify(secret)["type"] == "webhook.test"

    check(body)


def test_a_receiver_may_ask_for_a_longer_pause(check: Any) -> None:
    """`Retry-After` counts if it is longer than the next pause."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        await plane.create(receiver.url)
        receiver.answers = [(429, {"Retry-After": "1000"})]
        plane.send()
        await plane.finish()
        [delivery] = await plane.settled(1)
        assert delivery.due is not None
        assert 990 < delivery.due - time.time() < 1300

    check(body)


def test_a_rotated_secret_signs_beside_the_new_one(check: Any) -> None:
    """So that receivers can change theirs meanwhile; after the grace period it signs no longer."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        hook, old = await plane.create(receiver.url)
        hook, new = await plane.webhooks.rotate(hook, grace_s=60)
        plane.send()
        await plane.finish()
        [message] = await arrived(receiver, 1)
        message.verify(old)
        message.verify(new)
        await plane.webhooks.rotate(hook, grace_s=0)
        await plane.finish()
        [_, message] = await arrived(receiver, 2)
        with pytest.raises(WebhookVerificationError):
            message.verify(new)

    check(body)


def test_another_control_plane_sends_what_one_has_left(check: Any) -> None:
    """It died before it heard that the message was taken: the id is the same."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        await plane.create(receiver.url)
        held = asyncio.Event()

        async def die(url: str, *args: Any, **more: Any) -> Any:
            await post(url, *args, **more)
            held.set()
            await asyncio.sleep(100)

        post = plane.webhooks.sender._post
        plane.webhooks.sender._post = die
        plane.send()
        await plane.finish()
        await held.wait()
        Tasks.stop()
        plane.begin()
        plane.send()
        first, second = await arrived(receiver, 2)
        assert first.id == second.id
        await plane.settled(1)
        await asyncio.sleep(0.05)
        assert len(receiver.messages) == 2

    check(body)


def test_private_addresses_are_refused(check: Any) -> None:
    """Unless a setting allows their network just now; and nothing is sent there."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        await plane.create(receiver.url)
        plane.settings.webhook_networks = ("10.0.0.0/8",)
        plane.send()
        await plane.finish()
        [delivery] = await plane.settled(1)
        assert delivery.error is not None
        assert "no public address" in delivery.error
        assert receiver.messages == []

    check(body)


def test_others_are_not_held_up(check: Any) -> None:
    """A receiver that hangs gets a few messages at once, and another one all of its own."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        at_once, most = 0, 0
        real = plane.webhooks.sender._post

        async def post(url: str, *args: Any, **more: Any) -> Any:
            nonlocal at_once, most
            if not url.startswith("http://127.0.0.2"):
                return await real(url, *args, **more)
            at_once += 1
            most = max(most, at_once)
            return await asyncio.sleep(100)

        plane.webhooks.sender._post = post
        await plane.create("http://127.0.0.2/", "slow", by=ROOT, of_all=True)
        await plane.create(receiver.url, "quick", by=ROOT, of_all=True)
        plane.send()
        for _ in range(20):
            await plane.finish()
        await arrived(receiver, 20)
        assert most == 4

    check(body)


def test_tests_count_among_the_messages_on_their_way(check: Any) -> None:
    """Otherwise a key could have hundreds of requests sent to one host at once."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        at_once, may_end = 0, asyncio.Event()
        real = plane.webhooks.sender._post

        async def post(*args: Any, **more: Any) -> Any:
            nonlocal at_once
            at_once += 1
            await may_end.wait()
            return await real(*args, **more)

        plane.webhooks.sender._post = post
        hook, _ = await plane.create(receiver.url)
        plane.send()
        await plane.finish()
        while not at_once:
            await asyncio.sleep(0.01)
        tests = [asyncio.ensure_future(plane.webhooks.test(hook)) for _ in range(20)]
        done, _ = await asyncio.wait(tests, timeout=1)
        assert at_once == 4
        assert {type(each.exception()) for each in done} == {TooManyError}
        assert len(done) == 17
        may_end.set()
        took = await asyncio.gather(*tests, return_exceptions=True)
        assert [each[1].code for each in took if isinstance(each, tuple)] == [204] * 3
        assert (await plane.webhooks.test(hook))[1].code == 204

    check(body)


def test_others_at_the_same_host_are_not_held_up(check: Any) -> None:
    """Many webhooks of different people lead to one host that forwards them, such as a chat's."""

    async def body(plane: Plane, _: Receiver) -> None:
        taken: list[str] = []

        async def post(url: str, *_: Any, **__: Any) -> Any:
            if url.endswith("/slow"):
                return await asyncio.sleep(100)
            taken.append(url)
            return Answer(204)

        plane.webhooks.sender._post = post
        for name in ("slow", "quick"):
            await plane.create(f"http://127.0.0.2/{name}", name, by=ROOT, of_all=True)
        for _ in range(20):
            await plane.finish()
        plane.send()
        for _ in range(500):
            await asyncio.sleep(0.01)
            if len(taken) == 20:
                return
        raise AssertionError(f"{len(taken)} of 20 messages came")

    check(body)


def test_a_maker_without_access_is_told_nothing(check: Any) -> None:
    """Whoever is no admin any more does not hear of others; whose key is gone hears of nothing."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        await plane.create(receiver.url, by=ROOT, of_all=True)
        plane.send()
        await plane.finish()
        await arrived(receiver, 1)
        key = Key(name="root", digest=b"root", scopes=("launch",), created="2026")
        await plane.store.keys.put(key)
        await plane.finish()
        await plane.settled(2)
        assert [each.error for each in await plane.log()] == [
            "'root' may not see that execution any more",
            None,
        ]
        await plane.store.engine.write(
            lambda db: db.execute("DELETE FROM keys WHERE name = 'root'")
        )
        await plane.finish()
        await plane.settled(3)
        hook = await plane.store.webhooks.named("hook", by=ROOT)
        assert hook.why == "its maker 'root' has no access any more"
        assert len(receiver.messages) == 1

    check(body)


def test_other_protocols_make_their_own_content(check: Any) -> None:
    """With headers that are kept encrypted; without a signature if they have none."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        async def make(delivery: Delivery, webhook: Webhook) -> Content | None:
            if delivery.event == "running":
                return None
            return Content(b'{"its": "own"}', "application/a2a+json", {"X-More": "1"})

        plane.webhooks.contents["a2a"] = make
        webhook, secret = await plane.webhooks.make(
            "a2a",
            receiver.url,
            by=ADA,
            name="push1",
            events=("running", "finished"),
            headers={"Authorization": "Bearer its-token"},
            signed=False,
        )
        assert secret == ""
        assert b"its-token" not in webhook.sealed
        plane.send()
        await plane.finish(webhooks=(webhook,))
        [message] = await arrived(receiver, 1)
        assert message.body == b'{"its": "own"}'
        assert message.headers["content-type"] == "application/a2a+json"
        assert message.headers["authorization"] == "Bearer its-token"
        assert message.headers["x-more"] == "1"
        assert "webhook-signature" not in message.headers
        assert message.id.startswith("msg_")
        assert [each.status for each in await plane.settled(2)] == ["delivered", "failed"]

    check(body)


def test_a_message_that_cannot_be_made_waits_for_its_next_attempt(check: Any) -> None:
    """It is not tried again and again."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        made = 0

        async def make(delivery: Delivery, webhook: Webhook) -> Content:
            nonlocal made
            made += 1
            raise ZeroDivisionError

        plane.webhooks.contents["a2a"] = make
        webhook, _ = await plane.webhooks.make("a2a", receiver.url, by=ADA, name="push1")
        plane.send()
        await plane.finish(webhooks=(webhook,))
        [delivery] = await plane.settled(1)
        await asyncio.sleep(0.05)
        assert (made, delivery.status) == (1, "pending")
        assert delivery.error == "it could not be made or sent: ZeroDivisionError"

    check(body)


def test_pauses_last_three_days() -> None:
    """Standard Webhooks' schedule, with up to a fifth more."""
    pauses = [retries.pause_s(tries) or 0 for tries in range(1, 10)]
    assert 3 * 86_400 <= sum(pauses) <= 1.25 * 3.2 * 86_400
    assert 5 <= pauses[0] <= 6
    assert retries.pause_s(10) is None
    assert retries.retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retries.retry_after_s("7") == 7
    assert retries.retry_after_s("soon") == 0


def test_a_revoked_key_is_told_nothing_and_neither_is_the_next_of_its_name_instead(
    check: Any,
) -> None:
    """Its webhooks are disabled in the commit that revokes it, with what they were to be told.

    That includes those of one execution; and no test enables them again.
    """

    async def body(plane: Plane, receiver: Receiver) -> None:
        hook, _ = await plane.create(receiver.url)
        push, _ = await plane.webhooks.make("koco", receiver.url, by=ADA, name="launch")
        await plane.finish(webhooks=(push,))
        await plane.store.keys.revoke("ada")
        for each in (hook, push):
            found = await plane.store.webhooks.get(each.id)
            assert found is not None
            assert found.why == "its maker 'ada' has no access any more"
        assert {each.status for each in await plane.log()} == {"failed"}
        key = Key(name="ada", digest=b"new", scopes=("launch",), created="2027")
        await plane.store.keys.add(key)
        assert (await plane.store.webhooks.page(by=Maker("ada", "2027"))).items == []
        await plane.store.webhooks.enable(hook.id)  # a bug elsewhere, say
        plane.send()
        await plane.finish()
        await plane.settled(1)
        found = await plane.store.webhooks.get(hook.id)
        assert found is not None
        assert found.disabled is not None
        _, attempt = await plane.webhooks.test(found)
        assert attempt.error == "its maker 'ada' has no access any more"
        assert receiver.messages == []

    check(body)


def test_webhooks_of_an_expired_key_are_disabled(check: Any) -> None:
    """By the sender, without any news. The others stay."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        hook, _ = await plane.create(receiver.url)
        other, _ = await plane.create(receiver.url, by=ROOT)
        assert await plane.store.webhooks.disable_expired() == 0
        former = await plane.store.keys.get("ada")
        await plane.store.keys.put(msgspec.structs.replace(former, expires=time.time() - 1))
        plane.send()
        for _ in range(500):
            found = await plane.store.webhooks.get(hook.id)
            assert found is not None
            if found.disabled is not None:
                break
            await asyncio.sleep(0.01)
        assert found.why == "its maker 'ada' has no access any more"
        found = await plane.store.webhooks.get(other.id)
        assert found is not None
        assert found.disabled is None

    check(body)


@pytest.mark.parametrize("end", ["remove", "deactivate", "recover"])
def test_webhooks_of_others_who_lose_access_are_disabled(check: Any, end: str) -> None:
    """Of users who are removed or not active, and of a key that another one replaces."""

    async def body(plane: Plane, receiver: Receiver) -> None:
        users = plane.store.users
        user = User(name="bob", password="x", scopes=("launch",), created="2026", by="root")
        await users.add(user)
        by = ROOT if end == "recover" else Maker("bob", "2026")
        hook, _ = await plane.create(receiver.url, by=by)
        if end == "remove":
            await users.remove("bob")
        elif end == "deactivate":
            await users.change("bob", lambda each: msgspec.structs.replace(each, active=False))
        else:
            key = Key(name="root", digest=b"new", scopes=("admin",), created="2027")
            await plane.store.keys.put(key)
        found = await plane.store.webhooks.get(hook.id)
        assert found is not None
        assert found.disabled is not None

    check(body)
