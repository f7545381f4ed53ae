"""As `open_fetch`, with little CPU time."""

from koco.control.storage import fetch_process

if __name__ == "__main__":
    fetch_process._CPU_S = 1
    fetch_process.main(permits=lambda *_: True)
