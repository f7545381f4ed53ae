"""One connection of Celery's client: reads an order a line from stdin, answers with a line."""

import json
import sys
from typing import Any

from celery.result import AsyncResult
from celery_tasks import app, trivial


def launch(number: int, seconds: float, delay_s: float) -> str:
    """Send a task; return its id."""
    return str(trivial.apply_async((number, seconds), countdown=delay_s or None).id)


def wait(ident: str) -> int:
    """Wait for a result."""
    return int(AsyncResult(ident, app=app).get(timeout=120))


def status(ident: str) -> str:
    """Return what Celery calls the status."""
    return str(AsyncResult(ident, app=app).status)


def workers() -> int:
    """Return how many workers answer."""
    return len(app.control.ping(timeout=0.5))


def ready() -> bool:
    """Answer."""
    return True


_ORDERS: dict[str, Any] = {
    "ready": ready,
    "launch": launch,
    "wait": wait,
    "status": status,
    "workers": workers,
}


def main() -> None:
    """Answer until stdin ends."""
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"answer": _ORDERS[name](*arguments)}
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
