"""The API with flows for Masumi, over a real socket and without Ray, and a payment service."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from koco.control.payments.payment_service import TOKEN as SECRET
from koco.manifest.descriptions import KODOSUMI, FlowExample
from tests.support.api_server import Api, serving
from tests.support.masumi_service import TOKEN, PaymentService, serving_payments
from tests.support.releases import flow
from tests.support.whole_api import complete

AGENT = "a" * 60
ORDER = "00112233445566"
FORM: list[dict[str, Any]] = [
    {"type": "text", "name": "who", "label": "Who", "required": True},
    {"type": "select", "name": "tone", "option": ["kind", "harsh"]},
]
LOCK_FORM = [{"type": "text", "name": "why", "required": True}]
MANIFEST: dict[str, Any] = {
    "service": "svc",
    "flows": [
        {"name": each, "entrypoint": "m:f"} for each in ("greet", "paid", "open", "own", "old")
    ],
    "mip003": [
        {"flow": "paid", "agent_identifier": AGENT, "price": [{"amount": "5"}]},
        {"flow": "open", "public": True},
        {"flow": "old"},
    ],
    "locks": {"review": LOCK_FORM},
}
_EXPOSE = ("mcp", "mip003")
FLOWS = [
    flow(
        "greet",
        form=FORM,
        expose=_EXPOSE,
        summary="Greeter",
        author="Ada",
        tags=("hello",),
        examples=(
            FlowExample(inputs={"who": "Bo"}),
            FlowExample(inputs={"who": "Ada"}, result={"type": "text", "body": "Hello"}),
        ),
    ),
    flow("paid", form=FORM, expose=_EXPOSE),
    flow("open", form=FORM, expose=_EXPOSE),
    flow("own", form=FORM),
    flow("old", form=FORM, expose=_EXPOSE, dialect=KODOSUMI),
]


@dataclass
class Agents:
    """An API, and the payment service that it knows."""

    api: Api
    service: PaymentService

    def http(self, key: str | None = "ada") -> httpx.Client:
        """Return a client with a key, or without one. Its answers are in no document."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(
            base_url=self.api.url, headers=headers, trust_env=False, timeout=100, verify=False
        )

    def look(self) -> None:
        """Carry all payments on once."""
        payments = self.api.call(self.api.parts.store.payments.open())
        self.api.call(self.api.parts.payments.look(payments))


@contextmanager
def serving_agents(data_dir: Path, given: dict[str, Any] = MANIFEST) -> Iterator[Agents]:
    """Serve five flows; `own` is not offered over MIP-003.

    The keys are `ada`, `bob`, `reader`, `narrow`, which has other flows only, and `public`, as
    which callers without a key act.
    """
    with serving(data_dir) as api, serving_payments() as service:
        api.call(complete(api, given=given, flows=FLOWS))
        api.parts.url = api.url
        api.parts.settings.masumi_url = service.url
        api.parts.settings.mip003_key = "public"
        api.call(api.parts.vault.put(SECRET, TOKEN, by="ada"))
        api.admit("reader", "read")
        api.admit("narrow", "read", "launch", flows=("other/*",))
        api.admit("public", "launch", flows=("svc/*",))
        yield Agents(api, service)
