"""A small HTTP server for tests that need something else than a control plane."""

from http.server import ThreadingHTTPServer


class QuietServer(ThreadingHTTPServer):
    """Serves on a free port of 127.0.0.1, and never writes to a test's stderr.

    A request may outlast its test: its client hangs up, or its handler waits for something. The
    traceback that `http.server` prints then would appear in the output of whichever test runs.
    """

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the client sees that its connection ends."""
