"""Celery: the application as a careful user sets it up, with Redis for broker and results."""

import os

from celery import Celery
from trivial_work import work

app = Celery("peers", broker=os.environ["PEERS_REDIS"], backend=os.environ["PEERS_REDIS"])
app.conf.update(
    # A task is taken from the queue when it has ended, and another worker gets it if it has not.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={
        # More than the longest task takes: then a dead worker's tasks go to another one.
        "visibility_timeout": int(os.environ["PEERS_VISIBILITY_S"]),
        # kombu's advice for a low one: look for them every ten seconds instead of every hundred.
        "unacked_restore_throttle": 1,
    },
    broker_connection_retry_on_startup=True,
    result_expires=3600,
)


@app.task
def trivial(number: int, seconds: float = 0.0) -> int:
    """Do the work."""
    return work(number, seconds)
