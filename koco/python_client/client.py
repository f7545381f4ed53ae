"""`koco.Client`: flows and executions for programs without an event loop."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from koco.client import answers
from koco.client.client import Webhook
from koco.python_client import flow as flows
from koco.python_client import uploads
from koco.python_client.connecting import connect
from koco.python_client.execution import Execution
from koco.python_client.outcomes import Changes


class Client:
    """A control plane. Safe to use from several threads.

    Without arguments it is the one that the command line would talk to: KOCO_URL and KOCO_KEY,
    KOCO_CONTEXT, the project's `koco.toml`, or the current context. `context` names another
    context; `url` and `key` need none. `wait_s` is how long a request waits for a control plane
    that restarts, 15 seconds unless KOCO_RESTART_WAIT says otherwise.

    Raises:
        NotFoundError: there is no such context.
        UnreachableError: no control plane is known here.
    """

    def __init__(
        self,
        context: str | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        wait_s: float | None = None,
    ) -> None:
        self._api = connect(context, url=url, key=key, away_s=wait_s)
        self._changes = Changes(self._api)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    @property
    def url(self) -> str:
        """The URL of the control plane."""
        return self._api.url

    def close(self) -> None:
        """Close the connections. A program that ends need not."""
        self._changes.close()
        self._api.close()

    def flows(
        self, *, tags: Sequence[str] = (), search: str | None = None
    ) -> list[answers.FlowSummary]:
        """Return the flows that this key may launch: all, or those with all tags and words."""
        return self._api.flows(tags=tags, words=search)

    def flow(self, name: str) -> "Flow":
        """Return a flow as a function of its inputs, by name: `service/flow`.

        Raises:
            NotFoundError: there is none that this key may see.
        """
        return Flow(self, self._api.flow(name))

    def run(
        self,
        flow: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        webhook: str | None = None,
    ) -> Execution:
        """Launch a flow, and return its execution. A `pathlib.Path` among the inputs is uploaded.

        With an idempotency `key`, the flow is launched once, however often this is called. Without
        one, a connection that breaks does not launch it twice. The URL `webhook` is told when it
        ends, or waits for a person; `webhook_secret` of the execution checks its messages.

        Raises:
            InputsError: the flow's form refuses the inputs; `errors` has the messages by field.
            NotFoundError: there is no such flow that this key may see.
            TooManyError: the flow's queue is full.
            UnreachableError: no control plane answers.
        """
        given = uploads.resolve(self._api, inputs or {})
        key = key or f"run-{secrets.token_hex(16)}"
        told = None if webhook is None else Webhook(webhook)
        launched = self._api.launch_with(flow, given, key=key, is_prefilled=True, webhook=told)
        execution = Execution(self._api, self._changes, launched["result"])
        if its := launched.get("webhook"):
            execution.webhook_secret = its["secret"]
        return execution

    def execution(self, fid: str) -> Execution:
        """Return an execution, by fid, unique start of one, or `latest`.

        Raises:
            NotFoundError: there is none that this key may see.
        """
        return Execution(self._api, self._changes, self._api.execution(fid)["fid"])

    def executions(self, *, limit: int | None = None, **filters: Any) -> Iterator[Execution]:
        """Yield executions, newest first: all, or those that match all filters.

        The filters are those of `koco ps`: `flow`, `service`, `user`, `statuses`, `tags`, `search`,
        `active`, and `since` and `until` in RFC 3339.
        """
        cursor: str | None = None
        while limit is None or limit > 0:
            size = 100 if limit is None else min(limit, 100)
            page = self._api.executions(limit=size, cursor=cursor, **filters)
            for item in page["items"]:
                yield Execution(self._api, self._changes, item["fid"])
            limit = None if limit is None else limit - len(page["items"])
            cursor = page["next"]
            if cursor is None:
                return

    def locks(self, *, flow: str | None = None) -> list[answers.Lock]:
        """Return the open locks of all executions, oldest first: what waits for people."""
        found: list[answers.Lock] = []
        cursor: str | None = None
        while True:
            page = self._api.locks(flow=flow, limit=1000, cursor=cursor)
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found


class Flow:
    """A flow as a function. Calling it launches an execution and returns its result."""

    def __init__(self, client: Client, about: answers.Flow) -> None:
        self.name = about["name"]
        self.about = about
        self._client = client
        self.__signature__ = flows.signature(about)
        self.__name__ = flows.python_name(about)
        self.__doc__ = flows.documentation(about)

    def __repr__(self) -> str:
        return f"Flow({self.name!r})"

    def __call__(self, **inputs: Any) -> Any:
        """Launch the flow, and return its result; see `Client.run` and `Execution.result`.

        Raises:
            TypeError: an input is missing or unknown.
        """
        return self.run(**inputs).result()

    def run(self, **inputs: Any) -> Execution:
        """Launch the flow, and return its execution."""
        given = flows.inputs(self.about, self.__signature__, inputs)
        return self._client.run(self.name, given)
