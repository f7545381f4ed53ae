"""The catalog of flows that can be launched: those of live releases, by full or short name."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from koco.errors import ConflictError, NotFoundError
from koco.forms import FormError, Model
from koco.kodosumi.endpoint.paths import takes
from koco.manifest.descriptions import FlowDescription
from koco.manifest.rules import owner_of
from koco.spelling import nearest
from koco.store.model import Release

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A flow of a live release. `form` is None if the flow accepts any JSON object."""

    service: str
    release: int
    flow: FlowDescription
    form: Model | None
    #: Why its form cannot be read, for example because an older koco accepted it.
    fault: str = ""

    @property
    def name(self) -> str:
        """The full name, `service/flow`."""
        return f"{self.service}/{self.flow.name}"

    @property
    def path(self) -> str | None:
        """The flow's path in the service's own endpoint; None for a flow of the manifest."""
        return self.flow.path

    def has(self, tags: Collection[str], words: Collection[str]) -> bool:
        """Whether it has all tags, and all words occur in its name or its author's texts.

        Words are compared without regard to case.
        """
        flow = self.flow
        if not set(tags) <= set(flow.tags):
            return False
        about = (flow.summary or "", flow.description, flow.author, flow.organization, *flow.tags)
        text = "\n".join((self.name, *about)).casefold()
        return all(word.casefold() in text for word in words)


class Bell(Protocol):
    """Is rung when the catalog changes: an `asyncio.Event`, for example."""

    def set(self) -> None:
        """Note that it has changed."""
        ...


class Catalog:
    """The flows of live releases, by full name."""

    def __init__(self) -> None:
        #: Called when the live release of a service changes or goes. Schedules use it.
        self.on_change: Callable[[], None] = lambda: None
        #: Set when a flow comes or goes, or changes.
        self.watchers: set[Bell] = set()
        self._entries: dict[str, Entry] = {}
        self._releases: dict[str, Release] = {}
        self._closed: dict[str, Release] = {}

    def put(self, release: Release) -> None:
        """Add a release's flows, and remove those of the service's former release."""
        self.remove(release.service)
        for flow in release.flows:
            entry = _entry(release, flow)
            self._entries[entry.name] = entry
        self._releases[release.service] = release
        self._tell()

    def remove(self, service: str) -> None:
        """Remove a service's flows."""
        self._entries = {n: e for n, e in self._entries.items() if e.service != service}
        self._releases.pop(service, None)
        self._closed.pop(service, None)
        self._tell()

    def _tell(self) -> None:
        self.on_change()
        for bell in tuple(self.watchers):
            bell.set()

    def close(self, release: Release) -> None:
        """Remove a service's flows and refuse requests for them.

        `release` is the one that failed without a fallback.
        """
        self.remove(release.service)
        self._closed[release.service] = release

    def releases(self) -> list[Release]:
        """Return the live releases."""
        return [*self._releases.values()]

    def release(self, service: str) -> Release:
        """Return the live release of a service.

        Raises:
            NotFoundError: There is none.
            ConflictError: The service is closed, because its last release failed without a
                fallback.
        """
        if release := self._releases.get(service):
            return release
        self._require_open(service)
        near = nearest(service, self._releases)
        hint = f"did you mean {near!r}?" if near else "`koco status` lists them"
        raise NotFoundError(f"no service is called {service!r}", hint=hint)

    def at(self, service: str, path: str) -> Entry | None:
        """Return the flow at a path of a service's own endpoint, or None.

        A flow's own path may have parameters: `/reports/{year}`.
        """
        fits = [each for each in self._entries.values() if each.service == service and each.path]
        return next((each for each in fits if each.path == path), None) or next(
            (each for each in fits if takes(each.path or "", path)), None
        )

    def ordered(self, service: str, path: str, flow: str | None) -> Entry | None:
        """Return the flow that a page's launch belongs to; None if the service has no flow.

        It is the one that the launch names, or the one at the page's path, or else the first.
        """
        if flow is not None and (named := self._entries.get(f"{service}/{flow}")):
            return named
        fits = (each for each in self._entries.values() if each.service == service)
        return self.at(service, path) or next(fits, None)

    def entries(self) -> list[Entry]:
        """Return all flows, sorted by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    def find(self, name: str, *, sees: Callable[[str], bool] = lambda _: True) -> Entry:
        """Return a flow by full name, or by flow or service name if that is unique.

        `sees` takes a full name and returns True if the caller may see this flow. Other flows are
        treated as if they did not exist.

        Raises:
            NotFoundError: No flow has this name. The hint suggests similar names.
            ConflictError: Several flows have this name, its service is closed, or its form cannot
                be read.
        """
        found = self._find_unique(name, sees)
        if found.fault:
            raise ConflictError(
                f"the form of {found.name} cannot be read: {found.fault}",
                hint=f"correct it and deploy {found.service} again",
            )
        return found

    def _find_unique(self, name: str, sees: Callable[[str], bool]) -> Entry:
        if (entry := self._entries.get(name)) and sees(name):
            return entry
        entries = [entry for entry in self.entries() if sees(entry.name)]
        fits = [entry for entry in entries if entry.flow.name == name]
        fits = fits or [entry for entry in entries if entry.service == name]
        # A short name does not change its meaning because somebody works on the service.
        fits = [entry for entry in fits if not owner_of(entry.service)] or fits
        if len(fits) == 1:
            return fits[0]
        if fits:
            names = ", ".join(entry.name for entry in fits)
            raise ConflictError(f"several flows are called {name!r}", hint=f"say which: {names}")
        self._require_open(name, sees)
        raise NotFoundError(f"no flow is called {name!r}", hint=_hint(name, entries))

    def _require_open(self, name: str, sees: Callable[[str], bool] = lambda _: True) -> None:
        """Raise ConflictError if `name` is a closed service or one of its flows."""
        service = name.partition("/")[0]
        for release in self._closed.values():
            flows = {flow.name for flow in release.manifest.flows}
            if not any(sees(f"{release.service}/{flow}") for flow in flows | {"*"}):
                continue
            if service == release.service or name in flows:
                raise ConflictError(
                    closed_by(release),
                    hint=f"`koco releases {release.service} {release.number}` says why; deploy one"
                    f" that works, or `koco rollback {release.service}`",
                )


def _entry(release: Release, flow: FlowDescription) -> Entry:
    try:
        form = Model.from_list(flow.form) if flow.form is not None else None
    except FormError as exc:
        # Don't raise: the release is in the store already, and its other flows must still work.
        log.error("the form of %s/%s cannot be read: %s", release.service, flow.name, exc)
        return Entry(release.service, release.number, flow, None, str(exc))
    return Entry(release.service, release.number, flow, form)


def _hint(name: str, entries: list[Entry]) -> str:
    if not entries:
        return "nothing is deployed yet: `koco deploy` deploys a project"
    service, slash, _ = name.partition("/")
    known = [entry.name for entry in entries]
    if slash:
        # Suggest only flows of this service: a flow of the same name elsewhere is not meant.
        meant = nearest(service, {entry.service for entry in entries})
        if not meant:
            return f"no release of {service!r} is live: `koco status` lists those that are"
        known = [each for each in known if each.startswith(f"{meant}/")]
    else:
        known += [entry.flow.name for entry in entries]
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else "`koco flows` lists them"


def closed_by(release: Release) -> str:
    """Return the message that a service is closed because this release failed."""
    return (
        f"no release of {release.service!r} serves: release {release.number} failed, and the former"
        " one was deployed with no fallback to it"
    )
