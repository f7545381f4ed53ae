"""DBOS: the workflows, in a FastAPI application as its guide has it. `dbos_app.py PORT`."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from dbos import DBOS
from fastapi import FastAPI
from trivial_work import began

#: The latest handles: a caller that waits for a result waits in this process.
_HANDLES: dict[str, Any] = {}
_KEPT = 100


@DBOS.step()
async def work(number: int, seconds: float) -> int:
    """Do the work."""
    began(number)
    if seconds:
        await asyncio.sleep(seconds)
    return number


@DBOS.workflow()
async def trivial(number: int, seconds: float) -> int:
    """Do the work in a step, which is what does not run again once it is recorded."""
    return await work(number, seconds)


@DBOS.workflow()
async def waiting(number: int) -> int:
    """Wait for a message."""
    began(number)
    await DBOS.recv_async("go", timeout_seconds=86_400)
    return number


@asynccontextmanager
async def _launched(_app: FastAPI) -> Any:
    DBOS.launch()
    yield
    DBOS.destroy()


app = FastAPI(lifespan=_launched)


@app.get("/health")
async def health() -> dict[str, bool]:
    """Answer, once DBOS has been launched."""
    return {"ok": True}


@app.post("/launch/{number}")
async def launch(number: int, seconds: float = 0.0) -> dict[str, str]:
    """Start a workflow: it is committed when this answers."""
    handle = await DBOS.start_workflow_async(trivial, number, seconds)
    _HANDLES[handle.workflow_id] = handle
    if len(_HANDLES) > _KEPT:
        del _HANDLES[next(iter(_HANDLES))]
    return {"id": handle.workflow_id}


@app.post("/waiting/{number}")
async def start_waiting(number: int) -> dict[str, str]:
    """Start a workflow that waits."""
    handle = await DBOS.start_workflow_async(waiting, number)
    return {"id": handle.workflow_id}


@app.get("/result/{ident}")
async def result(ident: str) -> dict[str, int]:
    """Wait for a result."""
    return {"result": await _HANDLES.pop(ident).get_result()}


@app.get("/status/{ident}")
async def status(ident: str) -> dict[str, str | None]:
    """Return what DBOS calls the status."""
    found = await DBOS.get_workflow_status_async(ident)
    return {"status": found.status if found else None}


if __name__ == "__main__":
    DBOS(
        config={
            "name": "peers",
            "system_database_url": os.environ["PEERS_DATABASE"],
            "log_level": "WARNING",
            # The same code: a process that is started again takes over what the killed one had.
            "application_version": "1",
        }
    )
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
