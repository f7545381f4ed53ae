"""What a control plane answers while its store is away, and that it goes on by itself."""

import asyncio
import signal
import socket
from collections.abc import Iterator

import httpx
import pytest

from koco.control.server import store_wait
from koco.control.start import Start
from koco.errors import ConflictError
from koco.store.store import Store
from tests.support.postgres import Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.remove()


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
    return number


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _start(port: int) -> Start:
    return Start(data_dir="/nowhere", port=port, url=f"http://127.0.0.1:{port}")


def test_answers_until_the_server_is_back(server: Server, port: int) -> None:
    """Nobody is told where it is. Then the port is free."""

    async def main() -> None:
        engine = Store.at(server.url("postgres")).engine
        server.stop()
        waiting = asyncio.create_task(
            store_wait.wait_for(engine, _start(port), [("127.0.0.1", port)], silent_s=0)
        )
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            while True:
                try:
                    answer = await client.get("/v1/status")
                    break
                except httpx.ConnectError:
                    assert not waiting.done()
                    await asyncio.sleep(0.05)
            health = await client.get("/health")
        assert answer.status_code == health.status_code == 503
        assert answer.json()["code"] == "store"
        assert answer.headers["Retry-After"] == "1"
        assert str(server.port) not in answer.text + health.text
        assert health.json()["store"] == "failed"
        assert not waiting.done()
        await asyncio.to_thread(server.start)
        await asyncio.wait_for(waiting, 20)
        assert _is_free(port)


def test_does_not_wait_for_what_waiting_cannot_mend(server: Server) -> None:
    """A newer koco has written the store."""

    async def main() -> None:
        server.execute(
            "CREATE SCHEMA koco; CREATE TABLE koco.store (version bigint, opened bigint)"
        )
        server.execute("INSERT INTO koco.store VALUES (1000, 1)")
        engine = Store.at(server.url("postgres")).engine
        with pytest.raises(ConflictError):
            await asyncio.wait_for(store_wait.wait_for(engine, _start(1), []), 20)


def test_a_stop_ends_the_wait(server: Server, port: int) -> None:
    async def main() -> None:
        engine = Store.at(server.url("postgres")).engine
        server.stop(signal.SIGINT)
        waiting = asyncio.create_task(
            store_wait.wait_for(engine, _start(port), [("127.0.0.1", port)], silent_s=0)
        )
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert _is_free(port)

    asyncio.run(main())
