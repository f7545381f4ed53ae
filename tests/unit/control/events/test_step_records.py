"""Records of steps: out of batches, into the store, the blobs and, if asked for, encrypted."""

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from koco.control.events.chunk_reader import Wanted
from koco.control.events.step_records import ENCRYPTED
from koco.control.services.secrets import KEY_FILE, SecretError
from koco.control.storage.blob_stores.directory import Directory
from koco.control.storage.blob_stores.protocol import BlobsAwayError
from koco.errors import TooManyError
from koco.events import line, steps, wire
from koco.events.model import Kind, Status
from koco.events.steps import StepRecord, StepStatus
from koco.events.wire import Ack, Batch
from koco.sizes import MB
from koco.store import past
from koco.store.model import Execution, History, NewExecution
from tests.support.durable_executions import record as recorded
from tests.support.durable_executions import started
from tests.support.durable_plane import Durable
from tests.support.pools import over_store
from tests.support.releases import manifest


def record(key: str = "fetch:0", result: bytes | None = b"r", **more: Any) -> StepRecord:
    shown = {"arguments": "'plain argument'", "preview": "'plain result'"}
    size_bytes = len(result or b"")
    return recorded(key, 1, result=result, size_bytes=size_bytes, **shown, **more)


class Plane(Durable):
    """A control plane, and what is sent to it and read from it."""

    async def running(self, **keys: Any) -> Execution:
        declared = manifest(**keys)
        made = await self.store.releases.create(
            "svc", bundle="", fingerprint="", manifest=declared, by=""
        )
        return await started(self.store, release=made.number)

    async def send(self, fid: str, *lines: bytes, producer: str = "p", runner: str = "r1") -> Ack:
        return await self.append(Batch(fid, producer, 1, len(lines), b"\n".join(lines), runner))

    async def events(self, execution: Execution) -> str:
        wanted = Wanted()
        return b"".join(
            [piece.data async for piece in self.spooler.read(execution, wanted)]
        ).decode()

    async def past(self, execution: Execution) -> steps.Past:
        return steps.decode_past(await self.histories.past(execution))

    async def export(self, execution: Execution) -> History:
        pieces = [each async for each in self.histories.export(execution, by="ada")]
        return msgspec.json.decode(b"".join(pieces), type=History)


Body = Callable[[Plane], Awaitable[None]]


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Body], None]:
    return lambda body: over_store(tmp_path, lambda store: body(Plane(store)))


def test_a_large_result_waits_for_storage_that_is_away(check: Callable[[Body], None]) -> None:
    """Its batch is not acknowledged, so its runner sends it again; others are not held up."""

    async def body(w: Plane) -> None:
        class Away(Directory):
            async def put(self, sha256: str, data: bytes) -> None:
                raise BlobsAwayError("the bucket does not answer")

        execution, other = await w.running(), await w.running()
        line_ = steps.encode_line(record(result=b"x" * (MB + 1)))
        here, w.blobs.kept = w.blobs.kept, Away(w.path / "blobs")
        assert (await w.send(execution.fid, line_)).last == 0
        assert "cannot be stored yet: the bucket" in (w.spooler.why(execution.fid) or "")
        assert (await w.send(other.fid, steps.encode_line(record()))).last == 1
        w.blobs.kept = here
        assert (await w.send(execution.fid, line_)).last == 1
        assert (await w.store.steps.get(execution.id, "fetch:0")).blob is not None

    check(body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"position": 2**63},
        {"position": -1},
        {"attempt": 2**63},
        {"failures": -5},
        {"size_bytes": 2**64 - 1},
        {"started": float("nan")},
        {"started": float("inf")},
        {"started": 1e15},
        {"duration_s": float("nan")},
        {"key": ""},
        {"key": "fetch\x1b[2J:0"},
        {"key": "f" * 20_000},
        {"name": "f" * 300},
        {"digest": "d" * 300},
        {"arguments": "a" * 5000},
        {"preview": "p" * 20_000_000},
    ],
    ids=lambda wrong: f"{next(iter(wrong))}-{str(next(iter(wrong.values())))[:8]!a}",
)
def test_a_record_out_of_bounds_ends_only_its_own_execution(
    check: Callable[[Body], None], wrong: dict[str, Any]
) -> None:
    """The other batches of the same call are stored, and its list of steps can still be read."""

    async def body(w: Plane) -> None:
        bad, good = await w.running(), await w.running()
        events = {
            bad.fid: steps.encode_line(msgspec.structs.replace(record(), **wrong)),
            good.fid: steps.encode_line(record()),
        }
        batches = [Batch(fid, "p", 1, 1, text, "r1") for fid, text in events.items()]
        acks = wire.decode_acks(await w.spooler.append(wire.encode_batches(batches)))
        assert [ack.closed for ack in acks] == [True, False]
        now = await w.store.executions.get(bad.fid)
        assert now.error
        assert now.error.type == "BadEvents"
        assert len(now.error.message) < 400
        assert not (await w.past(bad)).steps
        assert len((await w.past(good)).steps) == 1

    check(body)


def test_records_leave_their_events(check: Callable[[Body], None]) -> None:
    """The stream has the events as if there were no records; each is stored once."""

    async def body(w: Plane) -> None:
        execution = await w.running()
        lines = [
            line.encode(Kind.DEBUG, {"text": '"record":"QUJD",'}),
            steps.encode_line(record()),
            line.encode(Kind.STDOUT, "between"),
            steps.encode_line(record("fetch:1", b"other")),
        ]
        assert (await w.send(execution.fid, *lines)).last == 4
        await w.send(execution.fid, *lines)
        events = await w.events(execution)
        assert events.count('"kind":"step","payload"') == 2
        assert [(each.key, each.result) for each in (await w.past(execution)).steps] == [
            ("fetch:0", b"r"),
            ("fetch:1", b"other"),
        ]

    check(body)


def test_large_results_are_blobs(check: Callable[[Body], None]) -> None:
    """They are not collected while a step names them, and are asked for one by one."""

    async def body(w: Plane) -> None:
        execution = await w.running()
        large = b"x" * (MB + 1)
        await w.send(execution.fid, steps.encode_line(record(result=large)))
        [past] = (await w.past(execution)).steps
        assert (past.result, past.is_apart) == (None, True)
        step = await w.store.steps.get(execution.id, "fetch:0")
        assert step.blob is not None
        assert w.blobs.kept.path(step.blob).read_bytes() == large
        assert step.size_bytes == len(large)
        unused = await w.store.uploads.find_unused([step.blob], before="9", keep_releases=1)
        assert unused == []
        read = await w.histories.result(execution, "fetch:0")
        assert len(read) == 4 * ((len(large) + 2) // 3)
        await w.store.executions.settle(execution.fid, Status.CANCELLED)
        await w.store.executions.delete(execution.fid)
        unused = await w.store.uploads.find_unused([step.blob], before="9", keep_releases=1)
        assert unused == [step.blob]
        assert [*(w.path / "parts").iterdir()] == []

    check(body)


@pytest.mark.parametrize(
    ("fault", "runner"), [("large", "r1"), ("unreadable", "r1"), ("foreign", "")]
)
def test_refuses_records(check: Callable[[Body], None], fault: str, runner: str) -> None:
    """Results above the setting, records that cannot be read, and those of no runner."""

    async def body(w: Plane) -> None:
        execution = await w.running()
        w.settings.max_step_mb = 0.001
        text = steps.encode_line(record(result=b"x" * 2000 if fault == "large" else b""))
        if fault == "unreadable":
            text = line.with_member(line.encode(Kind.STEP, {}), "record", b"QUJD")
        ack = await w.send(execution.fid, text, runner=runner, producer="q")
        assert ack.closed
        now = await w.store.executions.get(execution.fid)
        if not runner:
            assert now.status is Status.RUNNING
            return
        assert now.error is not None
        assert now.error.type == "BadEvents"
        assert ("max_step_mb" if fault == "large" else "a step is invalid") in now.error.message

    check(body)


def test_encrypts_if_the_service_asks_for_it(check: Callable[[Body], None], tmp_path: Path) -> None:
    """Neither the store's file nor a blob has the values; whoever replays gets them."""

    async def body(w: Plane) -> None:
        execution = await w.running(encrypt=True)
        small, large = b"plain secret", b"plain secret" * 200_000
        text = steps.encode_line(record(result=small), error="plain error")
        other = steps.encode_line(record("fetch:1", large))
        await w.send(execution.fid, text, other)
        events = await w.events(execution)
        assert "plain" not in events
        assert events.count(ENCRYPTED) == 3
        step = await w.store.steps.get(execution.id, "fetch:1")
        assert (step.arguments, step.preview) == (ENCRYPTED, ENCRYPTED)
        assert b"plain" not in w.blobs.kept.path(step.blob or "").read_bytes()
        first, _ = (await w.past(execution)).steps
        assert first.result == small
        history = await w.export(execution)
        results = [base64.b64decode(each.result or "") for each in history.steps]
        assert results == [small, large]
        await w.store.executions.settle(execution.fid, Status.ERROR)
        again, _ = await w.store.executions.create(
            NewExecution(
                flow=execution.flow,
                service=execution.service,
                release=execution.release,
                inputs={},
                resume_of=execution.fid,
            )
        )
        copied = await w.export(again)
        assert [base64.b64decode(each.result or "") for each in copied.steps] == [small, large]
        (w.path / KEY_FILE).unlink()
        with pytest.raises(SecretError, match="is missing"):
            await w.histories.past(execution)

    check(body)
    assert all(b"plain" not in each.read_bytes() for each in tmp_path.glob("store.db*"))


def test_a_history_is_exported_as_of_one_moment(
    check: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has an outcome only later is in it without one. A caller gets one at a time."""
    monkeypatch.setattr(past, "_PIECE", 1)

    async def body(w: Plane) -> None:
        execution = await w.running()
        assert (await w.export(execution)).steps == []
        begun = record("b:0", None, status=StepStatus.RUNNING)
        await w.send(execution.fid, *map(steps.encode_line, (record("a:0", b"1"), begun)))
        first = w.histories.export(execution, by="ada")
        pieces = [await anext(first)]
        await w.send(execution.fid, steps.encode_line(record("b:0", b"2")), producer="q")
        with pytest.raises(TooManyError, match="'ada' exports"):
            await anext(w.histories.export(execution, by="ada"))
        await anext(w.histories.export(execution, by="bob"))
        pieces += [each async for each in first]
        history = msgspec.json.decode(b"".join(pieces), type=History)
        found = [(each.key, each.status, each.result) for each in history.steps]
        assert found == [("a:0", "finished", "MQ=="), ("b:0", "running", None)]
        assert [each.result for each in (await w.export(execution)).steps] == ["MQ==", "Mg=="]

    check(body)


def test_the_key_is_that_of_the_secrets(check: Callable[[Body], None]) -> None:
    """If there are secrets and their key is missing, nothing is encrypted with another one."""

    async def body(w: Plane) -> None:
        await w.vault.put("TOKEN", "t", by="ada")
        (w.path / KEY_FILE).unlink()
        execution = await w.running(encrypt=True)
        assert (await w.send(execution.fid, steps.encode_line(record()))).closed
        now = await w.store.executions.get(execution.fid)
        assert now.error is not None
        assert "the key for all secrets is missing" in now.error.message
        assert not (w.path / KEY_FILE).exists()

    check(body)
