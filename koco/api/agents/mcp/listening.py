"""`subscriptions/listen`: a stream that tells of changed tools, tasks and resources."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from koco.api.agents.mcp import messages, resources, tasks, tools, versions
from koco.api.agents.mcp.asking import Ask
from koco.api.agents.mcp.messages import RpcError
from koco.errors import NotFoundError
from koco.store.model import Execution

#: The most tasks and resources that one stream watches.
_MOST = 100


async def listen(ask: Ask) -> AsyncGenerator[bytes, None]:
    """Answer `subscriptions/listen`.

    Raises:
        RpcError: tasks are asked for by a client that does not know them, or too many.
    """
    wanted = ask.message.mapping("notifications")
    task_ids, uris = _texts(wanted, "taskIds"), _texts(wanted, "resourceSubscriptions")
    if "taskIds" in wanted:
        tasks.require(ask)
    agreed: dict[str, Any] = {}
    if wanted.get("toolsListChanged") is True:
        agreed["toolsListChanged"] = True
    executions: dict[str, Execution] = {}
    of_uris: dict[str, Execution] = {}
    for fid in task_ids:
        try:
            executions[fid] = await ask.calls.execution(fid)
        except NotFoundError:
            continue
    for uri in uris:
        try:
            of_uris[uri], _, _ = await resources.find(ask, uri)
        except NotFoundError:
            continue
    agreed |= {"taskIds": [*executions]} if executions else {}
    agreed |= {"resourceSubscriptions": [*of_uris]} if of_uris else {}
    return _Listener(ask, agreed, executions, of_uris).follow()


def _texts(wanted: dict[str, Any], name: str) -> list[str]:
    found = wanted.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise RpcError(versions.INVALID_PARAMS, f"notifications.{name} must be a list of strings")
    if len(found) > _MOST:
        raise RpcError(versions.INVALID_PARAMS, f"notifications.{name} has more than {_MOST}")
    return list(dict.fromkeys(found))


class _Listener:
    """One stream."""

    def __init__(
        self,
        ask: Ask,
        agreed: dict[str, Any],
        executions: dict[str, Execution],
        uris: dict[str, Execution],
    ) -> None:
        self._ask = ask
        self._agreed = agreed
        self._tasks: dict[str, Any] = dict.fromkeys(executions)
        self._uris = {uri: each.last_seq for uri, each in uris.items()}
        self._fids = {uri: each.fid for uri, each in uris.items()}
        self._tools = self._shown_tools()

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """Yield what changes, until the client leaves or all tasks are over."""
        parts, news = self._ask.calls.parts, asyncio.Event()
        fids = {*self._tasks, *self._fids.values()}
        for fid in fids:
            parts.spooler.watch(fid, news)
        parts.catalog.watchers.add(news)
        try:
            yield self._event("subscriptions/acknowledged", {"notifications": self._agreed})
            while not parts.spooler.is_dismissed:
                news.clear()
                for each in await self._changes():
                    yield each
                try:
                    async with asyncio.timeout(parts.heartbeat_s):
                        await news.wait()
                except TimeoutError:
                    yield b":\n\n"
            yield self._end()
        finally:
            parts.catalog.watchers.discard(news)
            for fid in fids:
                parts.spooler.unwatch(fid, news)

    async def _changes(self) -> list[bytes]:
        found = []
        if "toolsListChanged" in self._agreed and self._tools != (now := self._shown_tools()):
            self._tools = now
            found.append(self._event("tools/list_changed", {}))
        for fid, told in self._tasks.items():
            task = await self._task(fid)
            if task is not None and task != told:
                self._tasks[fid] = task
                found.append(self._event("tasks", task))
        for uri, seq in self._uris.items():
            execution = await self._execution(self._fids[uri])
            if execution is not None and execution.last_seq != seq:
                self._uris[uri] = execution.last_seq
                found.append(self._event("resources/updated", {"uri": uri}))
        return found

    async def _task(self, fid: str) -> dict[str, Any] | None:
        execution = await self._execution(fid)
        return None if execution is None else await tasks.detailed(self._ask, execution)

    async def _execution(self, fid: str) -> Execution | None:
        try:
            return await self._ask.calls.execution(fid)
        except NotFoundError:
            return None  # it was deleted

    def _shown_tools(self) -> list[tuple[str, int]]:
        return [(each.name, each.release) for each in tools.listing(self._ask)]

    def _event(self, name: str, params: dict[str, Any]) -> bytes:
        meta = {**params.get("_meta", {}), versions.SUBSCRIPTION: self._ask.message.id}
        params = {**params, "_meta": meta}
        return messages.event(messages.notification(f"notifications/{name}", params))

    def _end(self) -> bytes:
        id_ = self._ask.message.id
        meta = {"_meta": {versions.SUBSCRIPTION: id_}}
        return messages.event(messages.result(id_, meta, is_modern=True))
