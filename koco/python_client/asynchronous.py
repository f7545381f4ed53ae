"""`koco.AsyncClient`: the same as `koco.Client`, for programs with an event loop.

Requests are made by `koco.Client`'s own code in threads, so there is one client to keep right.
However many results are awaited, that takes one connection and no thread for each.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from koco.client import answers
from koco.python_client import execution as synchronous
from koco.python_client import flow as flows
from koco.python_client import outcomes
from koco.python_client.client import Client
from koco.python_client.request_threads import RequestThreads


class AsyncClient:
    """A control plane; see `koco.Client`, whose arguments and errors are the same."""

    def __init__(
        self,
        context: str | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        wait_s: float | None = None,
    ) -> None:
        self._client = Client(context, url=url, key=key, wait_s=wait_s)
        self._threads = RequestThreads()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.url!r})"

    @property
    def url(self) -> str:
        """The URL of the control plane."""
        return self._client.url

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._threads.close()

    async def flows(
        self, *, tags: Sequence[str] = (), search: str | None = None
    ) -> list[answers.FlowSummary]:
        """Return the flows that this key may launch; see `Client.flows`."""
        return await self._threads.run(self._client.flows, tags=tags, search=search)

    async def flow(self, name: str) -> "AsyncFlow":
        """Return a flow as an async function of its inputs; see `Client.flow`."""
        found = await self._threads.run(self._client.flow, name)
        return AsyncFlow(self, found.about)

    async def run(
        self,
        flow: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        webhook: str | None = None,
    ) -> "AsyncExecution":
        """Launch a flow, and return its execution; see `Client.run`."""
        return self._own(
            await self._threads.run(self._client.run, flow, inputs, key=key, webhook=webhook)
        )

    async def execution(self, fid: str) -> "AsyncExecution":
        """Return an execution, by fid, unique start of one, or `latest`."""
        return self._own(await self._threads.run(self._client.execution, fid))

    async def executions(
        self, *, limit: int | None = None, **filters: Any
    ) -> AsyncIterator["AsyncExecution"]:
        """Yield executions, newest first; see `Client.executions`."""
        found = self._client.executions(limit=limit, **filters)
        async for each in self._threads.iterate(found):
            yield self._own(each)

    async def locks(self, *, flow: str | None = None) -> list[answers.Lock]:
        """Return the open locks of all executions, oldest first."""
        return await self._threads.run(self._client.locks, flow=flow)

    def _own(self, execution: synchronous.Execution) -> "AsyncExecution":
        return AsyncExecution(execution, self._threads)


class AsyncExecution:
    """One execution, by its `fid`; see `koco.Client.run`, whose execution has the same methods."""

    def __init__(self, execution: synchronous.Execution, threads: RequestThreads) -> None:
        self.fid = execution.fid
        self._execution = execution
        self._threads = threads

    def __repr__(self) -> str:
        return f"AsyncExecution({self.fid!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncExecution) and other.fid == self.fid

    def __hash__(self) -> int:
        return hash(self.fid)

    def _repr_html_(self) -> str:
        return self._execution._repr_html_()

    @property
    def webhook_secret(self) -> str | None:
        """The secret of the webhook that it was launched with, if any."""
        return self._execution.webhook_secret

    @property
    def files(self) -> "AsyncFiles":
        """The files of the execution."""
        return AsyncFiles(self._execution.files, self._threads)

    async def status(self) -> str:
        """Return the status just now."""
        return (await self.describe())["status"]

    async def describe(self) -> answers.Execution:
        """Return all facts about the execution."""
        return await self._threads.run(self._execution.describe)

    async def wait(self, *statuses: str, timeout: float | None = None) -> str:
        """Wait until it has one of these statuses or has ended; return the status.

        Raises:
            TimedOutError: it has not within `timeout` seconds. The execution goes on.
        """
        synchronous.check(statuses)
        deadline = outcomes.Deadline(timeout)
        found = await self.describe()
        if outcomes.is_reached(found, statuses):
            return found["status"]
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

        changes = self._execution.changes
        await self._threads.run(changes.add, self.fid, wake)
        try:
            while True:
                news.clear()
                found = await self.describe()
                if outcomes.is_reached(found, statuses):
                    return found["status"]
                pause_s = deadline.pause_s(self.fid, found["status"])
                try:
                    await asyncio.wait_for(news.wait(), pause_s)
                except TimeoutError:
                    continue
        finally:
            changes.remove(self.fid, wake)

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the end, and return the result.

        Raises:
            FlowError: it ended with an error, which has its type, reason and traceback.
            CancelledError: it was cancelled.
            TimedOutError: it has not ended within `timeout` seconds. The execution goes on.
        """
        await self.wait(timeout=timeout)
        return await self._threads.run(self._execution.outcome)

    async def events(
        self, *, kinds: Sequence[str] = (), since: int = 0, follow: bool = True
    ) -> AsyncIterator[answers.Event]:
        """Yield the events after `since`, until the end or, if not `follow`, until now.

        If the connection breaks, it goes on where it was.
        """
        found = self._execution.events(kinds=kinds, since=since, follow=follow)
        async for event in self._threads.iterate(found):
            yield event

    async def locks(self) -> list[answers.Lock]:
        """Return the open locks: what the execution asks people."""
        return await self._threads.run(self._execution.locks)

    async def answer(self, value: Any, *, lock: str | None = None) -> None:
        """Answer a lock with any JSON value; the only open one needs no name."""
        await self._threads.run(self._execution.answer, value, lock=lock)

    async def send(self, name: str, data: Any = None) -> None:
        """Send the execution a message, which it gets by `tracer.receive`."""
        await self._threads.run(self._execution.send, name, data)

    async def cancel(self, *, grace: float = synchronous.GRACE_S) -> None:
        """Ask it to end; it is killed after `grace` seconds."""
        await self._threads.run(self._execution.cancel, grace=grace)

    async def retry(self) -> "AsyncExecution":
        """Launch it again with the same inputs; return the new execution."""
        return AsyncExecution(await self._threads.run(self._execution.retry), self._threads)

    async def resume(self, *, step: str | None = None, live: bool = False) -> "AsyncExecution":
        """Launch it again with its recorded steps; see `Execution.resume`."""
        found = await self._threads.run(self._execution.resume, step=step, live=live)
        return AsyncExecution(found, self._threads)

    async def delete(self) -> None:
        """Remove it with its events and files. It must have ended."""
        await self._threads.run(self._execution.delete)


class AsyncFiles:
    """The files of one execution."""

    def __init__(self, files: synchronous.Files, threads: RequestThreads) -> None:
        self._files = files
        self._threads = threads

    async def list(self, path: str = "") -> list[answers.File]:
        """Return the files at or below a path: `{path, size_bytes, sha256, created, by}`."""
        return await self._threads.run(self._files.list, path)

    async def read(self, path: str) -> bytes:
        """Return a file's content."""
        return await self._threads.run(self._files.read, path)

    async def download(self, path: str, to: str | Path) -> Path:
        """Write a file's content to a local file, or into a folder under its own name."""
        return await self._threads.run(self._files.download, path, to)


class AsyncFlow:
    """A flow as an async function. Calling it launches an execution and returns its result."""

    def __init__(self, client: AsyncClient, about: answers.Flow) -> None:
        self.name = about["name"]
        self.about = about
        self._client = client
        self.__signature__ = flows.signature(about)
        self.__name__ = flows.python_name(about)
        self.__doc__ = flows.documentation(about)

    def __repr__(self) -> str:
        return f"AsyncFlow({self.name!r})"

    async def __call__(self, **inputs: Any) -> Any:
        """Launch the flow, and return its result.

        Raises:
            TypeError: an input is missing or unknown.
        """
        return await (await self.run(**inputs)).result()

    async def run(self, **inputs: Any) -> AsyncExecution:
        """Launch the flow, and return its execution."""
        its: inspect.Signature = self.__signature__
        return await self._client.run(self.name, flows.inputs(self.about, its, inputs))
