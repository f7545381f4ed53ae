"""The control plane's log: nobody who asks for something writes entries of their own into it."""

import logging

from koco.control.log_file import Formatter


def test_text_from_requests_can_neither_forge_entries_nor_control_terminals() -> None:
    """Line breaks continue the entry; control characters are escaped."""
    path = "/v1/a\n2026-01-31 12:00:00 INFO koco.control.access.keys x\r\x1b[2J\u2028\x85y"
    record = logging.LogRecord("koco", logging.ERROR, "", 1, "GET %s failed", (path,), None)
    first, second = Formatter("%(asctime)s %(message)s").format(record).splitlines()
    assert first.endswith("GET /v1/a")
    assert (
        second
        == "  2026-01-31 12:00:00 INFO koco.control.access.keys x\\r\\x1b[2J\\u2028\\x85y failed"
    )
