"""The client of a Masumi payment service, which knows the blockchain and holds the wallets.

It is an operator's own, often at a private address. So its URL is a setting and is not checked as
users' URLs are. The token is a secret of the vault.
"""

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from koco.client.http_proxy import proxy_for
from koco.control.services.secrets import Vault
from koco.control.settings import Settings
from koco.errors import (
    AnswerError,
    ConflictError,
    KocoError,
    NotFoundError,
    UnreachableError,
    UsageError,
)
from koco.store.model import Terms

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

#: The name of the secret with the token.
TOKEN = "MASUMI_PAYMENT_TOKEN"
#: The time limit of a request, and how much of a refusal is passed on (seconds, characters).
_TIMEOUT_S, _SHOWN = 30.0, 500
_HOUR_S = 3600.0


class _Wallet(msgspec.Struct, rename="camel"):
    wallet_vkey: str = ""


class _Created(msgspec.Struct, rename="camel"):
    """A new payment in the service's answer. Times are texts, in milliseconds."""

    blockchain_identifier: str
    pay_by_time: str
    submit_result_time: str
    unlock_time: str
    external_dispute_unlock_time: str
    wallet: _Wallet | None = msgspec.field(default=None, name="SmartContractWallet")


class _Known(msgspec.Struct, rename="camel"):
    on_chain_state: str | None = None


class PaymentService:
    """Asks a payment service to be paid, how a payment stands, and to submit results."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self._settings = settings
        self._vault = vault
        self._client: httpx.AsyncClient | None = None
        #: The service for which the client was made, because the setting may change.
        self._url = ""

    async def request(self, *, agent: str, network: str, input_hash: str, identifier: str) -> Terms:
        """Ask for the payment of a job; return what its purchaser has to know.

        Raises:
            UsageError: the service refuses it, because of the identifier for example.
            ConflictError: koco has no payment service, or no token for it.
            UnreachableError, AnswerError: it does not answer, or not as it should.
        """
        now_s = time.time()
        asked = {
            "agentIdentifier": agent,
            "network": network,
            "inputHash": input_hash,
            "identifierFromPurchaser": identifier,
            "payByTime": _timestamp(now_s + self._settings.masumi_pay_hours * _HOUR_S),
            "submitResultTime": _timestamp(now_s + self._settings.masumi_result_hours * _HOUR_S),
        }
        try:
            found = await self._ask("payment/", asked, _Created)
        except NotFoundError as exc:
            raise AnswerError(f"{exc.message}; is {agent[:80]!r} registered on {network}?") from exc
        try:
            return Terms(
                agent=agent,
                network=network,
                blockchain_identifier=found.blockchain_identifier,
                seller_vkey=found.wallet.wallet_vkey if found.wallet else "",
                pay_by=int(found.pay_by_time),
                submit_by=int(found.submit_result_time),
                unlock=int(found.unlock_time),
                dispute_unlock=int(found.external_dispute_unlock_time),
            )
        except ValueError as exc:
            raise AnswerError(f"the payment service's times are no numbers: {exc}") from exc

    async def state(self, terms: Terms) -> str | None:
        """Return the state of a payment on the blockchain, or None before it is there.

        Raises as `request`.
        """
        asked = {"network": terms.network, "blockchainIdentifier": terms.blockchain_identifier}
        try:
            found = await self._ask("payment/resolve-blockchain-identifier", asked, _Known)
        except NotFoundError:
            return None
        return found.on_chain_state

    async def submit(self, terms: Terms, result_hash: str) -> None:
        """Submit the hash of a job's result, which is what the seller is paid for.

        Raises as `request`, and NotFoundError if the payment is in no state for it.
        """
        asked = {
            "network": terms.network,
            "blockchainIdentifier": terms.blockchain_identifier,
            "submitResultHash": result_hash,
        }
        await self._ask("payment/submit-result", asked, _Known)

    async def _ask(self, path: str, asked: dict[str, Any], shape: type[T]) -> T:
        import httpx

        client = await self._connected()
        url = f"{self._url.rstrip('/')}/{path}"
        headers = {"token": await self._token(), "Accept": "application/json"}
        try:
            answer = await client.post(url, json=asked, headers=headers)
        except httpx.HTTPError as exc:
            raise UnreachableError(
                f"the payment service at {self._url} does not answer: {exc!r}",
                hint="the setting `masumi_url` says where it is",
            ) from exc
        return _read(answer.status_code, answer.content, shape)

    async def _connected(self) -> "httpx.AsyncClient":
        url = self._settings.masumi_url
        if not url:
            raise ConflictError(
                "this control plane has no payment service",
                hint="an admin names one: `koco config set masumi_url=https://…/api/v1`",
            )
        if self._client is None or url != self._url:
            former = self._client
            # In a thread, because it reads certificates.
            self._client = await asyncio.to_thread(_connect, url)
            self._url = url
            if former is not None:
                await former.aclose()
        return self._client

    async def _token(self) -> str:
        try:
            return await self._vault.value(TOKEN)
        except KocoError as exc:
            raise ConflictError(
                f"there is no token for the payment service: {exc.message}",
                hint=f"`koco secret set {TOKEN}`",
            ) from exc


def _connect(url: str) -> "httpx.AsyncClient":
    import httpx

    return httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, proxy=proxy_for(url))


def _read(status: int, body: bytes, shape: type[T]) -> T:
    """Return the `data` of an answer.

    Raises:
        ConflictError: the service refuses the token.
        NotFoundError: it does not know the payment, or what is to be paid.
        UsageError: it refuses the request.
        AnswerError: it failed, or its answer has another shape.
    """
    said = body[:_SHOWN].decode("utf-8", "replace")
    if status in (401, 403):
        raise ConflictError(
            f"the payment service refuses the token: {said}", hint=f"`koco secret set {TOKEN}`"
        )
    if status == 404:
        raise NotFoundError(f"the payment service does not know it: {said}")
    if 400 <= status < 500 and status != 429:
        raise UsageError(f"the payment service refuses the payment: {said}")
    if status != 200:
        raise AnswerError(f"the payment service answers {status}: {said}")
    try:
        return msgspec.convert(msgspec.json.decode(body)["data"], shape)
    except (msgspec.MsgspecError, KeyError, TypeError) as exc:
        raise AnswerError(f"the payment service's answer has another shape: {exc}") from exc


def _timestamp(when_s: float) -> str:
    """Return a time as the service reads it: RFC 3339 with milliseconds."""
    seconds, milliseconds = divmod(round(when_s * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"
