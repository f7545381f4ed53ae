"""Several processes of a control plane, without Ray: APIs over one PostgreSQL, one leads."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from koco.control.following import Following
from koco.control.leadership import Leadership
from koco.manifest.descriptions import FlowDescription
from koco.store.model import News
from koco.store.store import Store
from tests.support import postgres
from tests.support.api_server import Api, serving
from tests.support.whole_api import complete


class Finder:
    """Finds the leader in a store; a test may say something else."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url: str | None = None

    async def find(self) -> str | None:
        if self.url is not None:
            return self.url
        found = await self._store.engine.leader()
        return found.url if found is not None and found.age_s < 4 else None


@contextmanager
def process(place: Path, name: str, *, leads: bool = False, **more: Any) -> Iterator[Api]:
    """Serve one process, which has its own directory for its blobs."""
    store = Store.at(postgres.databases().url(place), name)
    finder = Finder(store)
    leadership = Leadership(finder.find, secret=b"m" * 32)
    if leads:  # before its parts are made, which then deploy a service
        leadership.begin()
    folder = place / name
    folder.mkdir(exist_ok=True)
    with serving(folder, store=store, leadership=leadership, finder=finder) as api:
        if leads:
            api.call(store.engine.lead(url=api.url))
        api.call(complete(api, **more))
        api.call(_follow(api))
        yield api


async def _follow(api: Api) -> None:
    """Do what `koco.control.process` does."""
    parts, engine = api.parts, api.parts.store.engine
    following = Following(parts)

    def heed(news: list[News]) -> None:
        for each in news:
            parts.spooler.wake(each.fid)
        following.heed(news)

    engine.on_touched, engine.on_gap = following.on_touched, following.on_gap
    parts.store.listen(heed)
    if not parts.leadership.leads:
        await following.start()


@contextmanager
def processes(
    place: Path,
    *,
    given: dict[str, Any] | None = None,
    flows: list[FlowDescription] = [],  # noqa: B006
) -> Iterator[tuple[Api, Api]]:
    """Serve two processes: the leader, and one that follows."""
    with ExitStack() as stack:
        leader = stack.enter_context(process(place, "leader", leads=True, given=given, flows=flows))
        yield leader, stack.enter_context(process(place, "follower"))
