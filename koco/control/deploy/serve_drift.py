"""Finds Serve applications of releases that somebody else has changed or removed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from koco.cluster.dashboard import ServeError
from koco.cluster.serve import Application, Serve
from koco.cluster.serve_comparison import REMOVED
from koco.store.model import Release
from koco.store.store import Store

#: How long Serve may take to return the configuration of its applications (seconds).
_LOOK_S = 10.0


class Drift:
    """Compares live releases with the applications in Serve. It changes nothing."""

    def __init__(
        self,
        store: Store,
        serve: Serve,
        *,
        application: Callable[[Release], Awaitable[Application]],
    ) -> None:
        self._store = store
        self._serve = serve
        self._application = application

    async def look(self, *, within_s: float = _LOOK_S) -> dict[str, str]:
        """Return the changes and removals by others, by service.

        Raises:
            ServeError: Serve does not answer, so it is unknown if anything has changed.
        """
        return {release.service: what for release, what in await self._compare(within_s)}

    async def removed(self, retired: Sequence[Release]) -> list[Release]:
        """Return the live releases, and the given ones, whose applications are gone from Serve.

        Raises:
            ServeError: See `look`.
        """
        found = await self._compare(_LOOK_S, retired)
        return [release for release, what in found if what == REMOVED]

    async def _compare(
        self, within_s: float, retired: Sequence[Release] = ()
    ) -> list[tuple[Release, str]]:
        present = [*await self._store.releases.with_status("live"), *retired]
        served = [each for each in present if each.app is not None]
        if not served:
            return []  # don't ask Serve, because it may not even run
        made = [await self._application(release) for release in served]
        try:
            async with asyncio.timeout(within_s):
                found = await self._serve.drift({each.name: each.config() for each in made})
        except TimeoutError as exc:
            raise ServeError(f"Ray's dashboard did not answer within {within_s:g} s") from exc
        pairs = zip(served, made, strict=True)
        return [(release, found[each.name]) for release, each in pairs if each.name in found]
