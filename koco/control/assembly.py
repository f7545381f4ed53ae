"""Assembles the parts of a control plane over one store."""

import asyncio
import logging
from pathlib import Path
from typing import Any

from koco.cluster import memory_guard, placement, runners
from koco.cluster.nodes import can_grow
from koco.cluster.runners import RunnerActor
from koco.cluster.serve import Application, Serve
from koco.control.access.audit import Audit
from koco.control.access.keys import Keys
from koco.control.access.login_throttle import Attempts
from koco.control.access.open_streams import Streams
from koco.control.access.passwords import Passwords
from koco.control.access.rate_limit import Rates
from koco.control.access.sessions import Sessions
from koco.control.access.users import Users
from koco.control.backup.making import Backups
from koco.control.cluster_overview import Overview
from koco.control.container import Parts
from koco.control.deploy.cluster_room import Room
from koco.control.deploy.deployer import Deployer
from koco.control.deploy.environment import Environments
from koco.control.deploy.serve_apps import Applications
from koco.control.deploy.start_watch import Watch
from koco.control.events.spooler import Spooler
from koco.control.events.step_records import StepRecords
from koco.control.executions.acceptance import Acceptance
from koco.control.executions.children import Children
from koco.control.executions.files import Files
from koco.control.executions.history import Histories
from koco.control.executions.launcher import Launches
from koco.control.executions.leftovers import Leftovers
from koco.control.executions.locks import Locks
from koco.control.executions.news import Listener
from koco.control.executions.retention import Retention
from koco.control.executions.scheduling.orders import ScheduleOrders
from koco.control.executions.scheduling.schedules import Schedules
from koco.control.executions.supervisor import Supervisor, spec_of
from koco.control.executions.url_inputs import UrlInputs
from koco.control.executions.waiting.waiters import Waiters
from koco.control.executions.waits import Waits
from koco.control.leadership import Leadership
from koco.control.payments.payment_service import PaymentService
from koco.control.payments.payments import Payments
from koco.control.runners.last_words import LastWords
from koco.control.runners.spares import Spares
from koco.control.services.bundles import Bundles
from koco.control.services.catalog import Catalog
from koco.control.services.endpoint_client import Endpoints
from koco.control.services.release_tokens import ReleaseTokens
from koco.control.services.secrets import Vault
from koco.control.settings import Settings
from koco.control.start import Start
from koco.control.storage.blob_stores import address
from koco.control.storage.blobs import Blobs
from koco.control.storage.chunked import ChunkedUploads
from koco.control.storage.disk import Disk
from koco.control.storage.downloads import Downloads
from koco.control.tasks import Tasks
from koco.control.tracing.exporter import Exporter
from koco.control.webhooks.orders import Webhooks
from koco.errors import KocoError
from koco.events import line
from koco.runner.spec import RunnerSpec
from koco.store.model import Release
from koco.store.store import Store

log = logging.getLogger(__name__)

#: How often unreferenced blobs are collected (seconds).
_COLLECT_S = 3600.0
#: How often new events are indexed for search, and the pauses between batches and after a failure
#: (seconds).
_INDEX_S = 1.0
_INDEX_PAUSE_S = 0.02
_INDEX_FAILED_S = 10.0


async def assemble(
    store: Store,
    start: Start,
    *,
    control: Any,
    code: str,
    tasks: Tasks,
    leadership: Leadership,
) -> Parts:
    """Return the parts over an open store; what only a leader does is not begun.

    `control` is the actor that runners and tasks talk to, `code` the digest of koco's code, and
    `tasks` holds the background work that runs as long as the parts do.
    """
    data_dir = Path(start.data_dir)
    settings = Settings()
    settings.change(await store.settings.all())
    streams = Streams(settings)
    attempts, passwords = Attempts(), Passwords()
    disk = Disk(data_dir, settings, store.engine)
    store.engine.require_room = disk.require_room
    tasks.keep(disk.keep)
    kept = address.make(start.blobs, data_dir)
    blobs = Blobs(data_dir, store, settings, disk, kept=kept)
    chunked = ChunkedUploads(data_dir, blobs, settings, disk)

    def forget(owner: str) -> None:
        for each in (blobs, chunked):
            tasks.spawn(each.end(owner))

    users = Users(store, passwords, attempts, end=streams.end, forget=forget)
    bundles = Bundles(blobs, store, secret=await store.secrets.own("bundles"), url=start.node_url)
    vault = Vault(store, data_dir)
    audit = Audit(store)
    tasks.keep(audit.keep)
    tasks.keep(memory_guard.keep)
    release_tokens = ReleaseTokens(
        secret=await store.secrets.own("releases"), url=start.node_url or start.url
    )
    environments = Environments(
        bundles, vault, publish=release_tokens.publish, base=start.environment
    )

    async def begin(spec: RunnerSpec, environment: dict[str, Any], release: Release) -> RunnerActor:
        options = placement.options(release.manifest.runner)
        return await runners.start(spec, control=control, runtime_env=environment, options=options)

    spares = Spares(store.releases.live, environments.of, begin, spec_of)

    async def start_runner(spec: RunnerSpec, release: Release) -> RunnerActor:
        spare = await spares.take(spec, release)
        return spare or await begin(spec, await environments.of(release), release)

    records = StepRecords(store, settings, blobs=blobs, box=vault.box)
    spooler = Spooler(store, settings, disk=disk, records=records)
    retention = Retention(store, settings, audit, wake=spooler.wake)
    waiters = Waiters()
    supervisor = Supervisor(
        store,
        spooler,
        start_runner=start_runner,
        settings=settings,
        remains=LastWords(store, spooler, vault).of,
        waiters=waiters,
        leadership=leadership,
    )
    webhooks = Webhooks(store, settings, vault, url=start.url)
    listener = Listener(supervisor, spooler, waiters, webhooks.sender, leadership=leadership)
    store.listen(listener.heed)
    traces = Exporter(store, spooler)
    catalog = Catalog()
    files = Files(store, spooler, blobs, secret=await store.secrets.own("files"))
    endpoints = Endpoints(Serve(), secret=await store.secrets.own("endpoints"), url=start.url)

    locks = Locks(store, spooler, endpoints=endpoints, waiters=waiters)

    async def application(release: Release) -> Application:
        return Application(
            service=release.service,
            release=release.number,
            import_path=release.manifest.app or "",
            runtime_env=await environments.of_endpoint(release),
            timeout_s=release.manifest.endpoint.timeout,
            options=release.manifest.serve,
        )

    applications = Applications(
        endpoints.serve, store, supervisor=supervisor, catalog=catalog, make=application
    )
    overview = Overview()
    urls = UrlInputs(Downloads(blobs), settings)
    acceptance = Acceptance(store, supervisor, catalog, spooler=spooler, leadership=leadership)
    launches = Launches(
        store,
        supervisor if leadership.is_alone else acceptance,
        catalog,
        endpoints=endpoints,
        files=files,
        urls=urls,
        bundles=bundles,
    )
    payment_service = PaymentService(settings, vault)
    payments = Payments(store, catalog, launches, service=payment_service, settings=settings)
    children = Children(store, catalog, launches)
    schedules = Schedules(store, catalog, launches, settings)
    return Parts(
        store=store,
        disk=disk,
        spooler=spooler,
        supervisor=supervisor,
        deployer=Deployer(
            store,
            supervisor,
            catalog,
            bundles=bundles,
            applications=applications,
            mask=vault.mask,
            watch=Watch(Room(endpoints.serve, supervisor, can_grow=can_grow)),
            spares=spares,
        ),
        catalog=catalog,
        bundles=bundles,
        files=files,
        chunked=chunked,
        endpoints=endpoints,
        keys=Keys(store, end=streams.end, forget=forget),
        users=users,
        sessions=Sessions(store, users, passwords, settings, end=streams.end),
        attempts=attempts,
        locks=locks,
        waits=Waits(store, spooler, waiters=waiters, children=children),
        histories=Histories(store, blobs=blobs, opener=vault.opener),
        launches=launches,
        payments=payments,
        schedules=schedules,
        schedule_orders=ScheduleOrders(schedules, store=store, catalog=catalog),
        vault=vault,
        release_tokens=release_tokens,
        audit=audit,
        backups=Backups(data_dir, store, blobs, disk, url=start.url),
        cluster=overview,
        leftovers=Leftovers(supervisor, overview.work),
        webhooks=webhooks,
        traces=traces,
        duties=(
            lambda: _collect(blobs, chunked, settings),
            lambda: _index(store),
            retention.keep,
            traces.keep,
        ),
        leadership=leadership,
        send=control.append.remote,
        settings=settings,
        streams=streams,
        rates=Rates(settings),
        url=start.url,
        node_url=start.node_url,
        code=code,
        started=line.timestamp(),
        data_dir=data_dir,
    )


async def _collect(blobs: Blobs, chunked: ChunkedUploads, settings: Settings) -> None:
    """Remove unreferenced blobs and abandoned uploads, now and every hour."""
    while True:
        try:
            if count := await blobs.collect() + await chunked.collect():
                log.info("removed %d unreferenced blobs and abandoned uploads", count)
        except (KocoError, OSError):
            log.exception("unreferenced blobs could not be removed")  # a full disk, say
        await asyncio.sleep(min(_COLLECT_S, settings.unfinished_hours * 3600))


async def _index(store: Store) -> None:
    """Index new events for search and, after an upgrade, the older ones."""
    while True:
        try:
            has_more = await store.executions.index()
        except KocoError as exc:
            log.warning("new events cannot be indexed for search yet: %s", exc)  # a full disk, say
            await asyncio.sleep(_INDEX_FAILED_S)
        else:
            # Not all at once, because a commit waits for each batch.
            await asyncio.sleep(_INDEX_PAUSE_S if has_more else _INDEX_S)
