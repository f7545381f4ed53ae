"""LangGraph's development server: `langgraph dev`, which needs no key."""

import json
import uuid
from typing import Any, ClassVar

from tests.bench.peers.ledger import State
from tests.bench.peers.peer import Peer, answers
from tests.bench.peers.processes import PROGRAMS, free_ports
from tests.bench.wire import AnswerError, Wire


class LangGraph(Peer):
    """One process with everything in memory."""

    name = "langgraph"
    title = "LangGraph, dev server"
    venv = "langgraph"
    requirements = ("langgraph-cli[inmem]==0.4.40", "langgraph==1.2.22")
    packages = ("langgraph", "langgraph-cli", "langgraph-api", "langgraph-runtime-inmem")
    setup = (
        "`langgraph dev --no-reload`, ten jobs at once (its default). It is for development, and "
        "writes its memory to a file every 10 s; the production server needs a license key."
    )
    settings: ClassVar[dict[str, str]] = {
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGSMITH_TRACING": "false",
        "LANGCHAIN_TRACING_V2": "false",
    }
    notes: ClassVar[dict[str, str]] = {
        "finished": "When it has nothing to do, it looks for new runs each second.",
        "waiting": "`interrupt`: the run ends, and its thread keeps the state.",
    }

    def start(self) -> None:
        """Start the server."""
        graph = f"{PROGRAMS}/langgraph_graph.py:graph"
        config = {"dependencies": [str(PROGRAMS)], "graphs": {"work": graph}}
        (self.root / "langgraph.json").write_text(json.dumps(config))
        [port] = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self.processes.start(
            *("langgraph", self.python.with_name("langgraph"), "dev", "--no-browser"),
            *("--no-reload", "--host", "127.0.0.1", "--port", port),
            *("--server-log-level", "WARNING"),
        )
        self.until(lambda: answers(self._url, "/ok"))

    def connect(self) -> "_Connection":
        """Return a connection to the server."""
        return _Connection(Wire(self._url))


class _Connection:
    """Launches each run in a thread of its own, which the same request makes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def launch(self, number: int, seconds: float = 0.0) -> str:
        return self._launch({"number": number, "seconds": seconds})

    def launch_waiting(self, number: int) -> str:
        return self._launch({"number": number, "waits": True})

    def _launch(self, inputs: dict[str, Any]) -> str:
        path = f"/threads/{uuid.uuid4()}/runs"
        body = {"assistant_id": "work", "input": inputs, "if_not_exists": "create"}
        return f"{path}/{self._wire.json('POST', path, body)['run_id']}"

    def wait(self, ident: str) -> None:
        self._wire.request("GET", f"{ident}/join")

    def state(self, ident: str) -> State:
        try:
            status = self._wire.json("GET", ident)["status"]
        except AnswerError as error:
            if error.status == 404:
                return "gone"
            raise
        if status == "success":
            return "finished"
        return "open" if status in ("pending", "running") else "failed"

    def close(self) -> None:
        self._wire.close()
