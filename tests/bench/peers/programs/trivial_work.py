"""The work that every peer does: write down that it began, pause if asked, return a small value."""

import os
import time


def began(number: int) -> None:
    """Add a line to the ledger. All lines have the same length, and each is one write."""
    line = f"{number:>10} {os.getpid():>10} {time.time():>20.6f}\n".encode()
    ledger = os.open(os.environ["PEERS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(ledger, line)
    finally:
        os.close(ledger)


def work(number: int, seconds: float = 0.0) -> int:
    """Do the work, and block while it pauses."""
    began(number)
    if seconds:
        time.sleep(seconds)
    return number
