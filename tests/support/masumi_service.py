"""A Masumi payment service without a blockchain: real HTTP, and payments that a test makes.

Its paths, members and refusals are those of the service at masumi-network/masumi-payment-service.
"""

import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http_server import QuietServer

TOKEN = "payment-token"
VKEY = "seller-vkey"
#: What the service asks of a purchaser's identifier.
_IDENTIFIER = re.compile(r"[0-9a-fA-F]{14,26}")


@dataclass
class PaymentService:
    """What the service knows."""

    url: str = ""
    #: The state of each payment on the blockchain, by its identifier; None before it is there.
    states: dict[str, str | None] = field(default_factory=dict)
    #: The bodies of the requests, by path.
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    #: The hashes of results, by the payment's identifier.
    results: dict[str, str] = field(default_factory=dict)
    #: The status with which everything is refused; 0 for none.
    broken: int = 0

    def pay(self, state: str = "FundsLocked") -> None:
        """Let the money of all payments arrive."""
        for each in self.states:
            self.states[each] = state

    def answer(self, path: str, asked: dict[str, Any], token: str | None) -> tuple[int, Any]:
        """Return the status and the body for a request."""
        self.asked.setdefault(path, []).append(asked)
        if self.broken:
            return self.broken, {"status": "error", "error": {"message": "broken"}}
        if token != TOKEN:
            return 401, {"status": "error", "error": {"message": "Unauthorized"}}
        if path == "/api/v1/payment/":
            return self._create(asked)
        name = asked["blockchainIdentifier"]
        if path == "/api/v1/payment/resolve-blockchain-identifier":
            if name not in self.states:
                return 404, {"status": "error", "error": {"message": "Payment not found"}}
            return 200, {"status": "success", "data": {"onChainState": self.states[name]}}
        if path == "/api/v1/payment/submit-result" and self.states.get(name) == "FundsLocked":
            self.results[name] = asked["submitResultHash"]
            return 200, {"status": "success", "data": {"onChainState": "FundsLocked"}}
        return 404, {"status": "error", "error": {"message": "not found or in invalid state"}}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if not _IDENTIFIER.fullmatch(asked["identifierFromPurchaser"]):
            message = "identifierFromPurchaser: it must be in hex format"
            return 400, {"status": "error", "error": {"message": message}}
        name = f"block_{secrets.token_hex(8)}"
        self.states[name] = None
        pay_by, submit_by = (
            round(datetime.fromisoformat(asked[each]).timestamp() * 1000)
            for each in ("payByTime", "submitResultTime")
        )
        payment = {
            "blockchainIdentifier": name,
            "payByTime": str(pay_by),
            "submitResultTime": str(submit_by),
            "unlockTime": str(submit_by + 1000),
            "externalDisputeUnlockTime": str(submit_by + 2000),
            "onChainState": None,
            "SmartContractWallet": {"id": "1", "walletVkey": VKEY, "walletAddress": "addr"},
        }
        return 200, {"status": "success", "data": payment}


@contextmanager
def serving_payments() -> Iterator[PaymentService]:
    """Serve payments on a free port."""
    service = PaymentService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, body = service.answer(self.path, asked, self.headers.get("token"))
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = QuietServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    service.url = f"http://127.0.0.1:{server.server_address[1]}/api/v1"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
