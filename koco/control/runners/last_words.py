"""Deliver the events and output that dead runners left on their nodes, and find why they ended."""

import asyncio
import logging

import msgspec
import ray

from koco.cluster import node_processes
from koco.control.events.spooler import Spooler
from koco.control.services.secrets import Vault
from koco.control.tasks import Tasks, surely
from koco.errors import KocoError, NoRoomError
from koco.events import line, wire
from koco.events.wire import Batch
from koco.runner import remains
from koco.runner.output.replay import PIPE
from koco.runner.remains import Remains, Tail
from koco.sdk.process.crash import End
from koco.store.store import Store

log = logging.getLogger(__name__)


class LastWords:
    """Collects the undelivered data of dead runners from their nodes.

    A runner can be collected more than once, because the store drops the data that it already has.
    """

    def __init__(self, store: Store, spooler: Spooler, vault: Vault) -> None:
        self._store = store
        self._spooler = spooler
        self._vault = vault
        self._tasks = Tasks("last words")

    async def of(self, runner_id: str, node: str) -> End | None:
        """Deliver the data that a dead runner left on its node; return how it ended, if known.

        If `node` is empty, all nodes are asked. After a restart the node is not known.

        Raises:
            NodeSilent: its node does not answer.
        """
        if node:
            blob = await node_processes.on_node(node, remains.collect, runner_id)
        else:
            node, blob = await _find_remains(runner_id)
        if blob is None:
            return None
        left = msgspec.msgpack.decode(blob, type=Remains)
        for batches in left.batches:
            await surely(lambda batches=batches: self._deliver(batches))  # type: ignore[misc]
        for tail in left.tails:
            await surely(lambda tail=tail: self._deliver_tail(runner_id, tail))  # type: ignore[misc]
        self._tasks.spawn(_discard(runner_id, node))
        return left.end

    async def _deliver(self, blob: bytes) -> None:
        """Commit the batches that a runner had not delivered.

        They are marked as its last ones: no more will follow, so the spooler makes room for them.

        Raises:
            NoRoomError: there is no room on the disk.
        """
        batches = [
            msgspec.structs.replace(each, is_last=True) for each in wire.decode_batches(blob)
        ]
        acks = wire.decode_acks(await self._spooler.append(wire.encode_batches(batches)))
        # A batch that is refused although there is room follows a gap. The runner is dead, so the
        # gap cannot be filled, and waiting for it would never end.
        waiting = [each for each, ack in zip(batches, acks, strict=True) if not each.is_held(ack)]
        if any(self._spooler.why(each.fid) for each in waiting):
            raise NoRoomError("the output of a dead runner waits for room on the disk")

    async def _deliver_tail(self, runner_id: str, tail: Tail) -> None:
        try:
            execution = await self._store.executions.get(tail.fid)
            release = await self._store.releases.get(execution.service, execution.release)
        except KocoError:
            return  # it has been removed
        masks = await self._vault.masks(release)
        lines = [line.encode(kind, masks.text(text)) for kind, text in tail.lines]
        if execution.policy.durable:
            # They were in the pipes: the replay looks for them there.
            lines = [line.with_member(each, "at", PIPE.encode()) for each in lines]
        body = b"\n".join(lines)
        # The producer is the same each time this is collected, so that the store can drop repeats.
        batch = Batch(
            tail.fid, f"{runner_id}.end", 1, len(lines), body, runner_id, None, tail.attempt
        )
        await self._deliver(wire.encode_batches([batch]))


async def _find_remains(runner_id: str) -> tuple[str, bytes | None]:
    """Return the node on which a runner left data, and the data; `("", None)` if none has any."""
    nodes = [node["NodeID"] for node in await asyncio.to_thread(ray.nodes) if node["Alive"]]
    asking = [node_processes.on_node(node, remains.collect, runner_id) for node in nodes]
    for node, found in zip(
        nodes, await asyncio.gather(*asking, return_exceptions=True), strict=True
    ):
        if isinstance(found, bytes):
            return node, found
        if isinstance(found, BaseException):
            log.warning(
                "the remains of runner %s may be on node %s: %s", runner_id, node[:8], found
            )
    return "", None


async def _discard(runner_id: str, node: str) -> None:
    try:
        await node_processes.on_node(node, remains.discard, runner_id)
    except node_processes.NodeSilent as exc:
        log.info("the remains of runner %s stay on their node: %s", runner_id, exc.message)
