"""Assembles the parts of a control plane over one store."""

from pathlib import Path
from typing import Any

from koco.cluster import memory_guard
from koco.cluster.nodes import can_grow
from koco.cluster.serve import Serve
from koco.control.access.audit import Audit
from koco.control.assembly import housekeeping
from koco.control.assembly.access import Access
from koco.control.assembly.processes import Processes
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
from koco.control.executions.supervisor import Supervisor
from koco.control.executions.url_inputs import UrlInputs
from koco.control.executions.waiting.waiters import Waiters
from koco.control.executions.waits import Waits
from koco.control.leadership import Leadership
from koco.control.payments.payment_service import PaymentService
from koco.control.payments.payments import Payments
from koco.control.runners.last_words import LastWords
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
from koco.events import line
from koco.store.store import Store


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
    disk, blobs, chunked = _storage(store, start, settings, tasks)

    def forget(owner: str) -> None:
        for each in (blobs, chunked):
            tasks.spawn(each.end(owner))

    access = Access.over(store, settings, forget=forget)
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
    processes = Processes(environments, live=store.releases.live, control=control)
    records = StepRecords(store, settings, blobs=blobs, box=vault.box)
    spooler = Spooler(store, settings, disk=disk, records=records)
    retention = Retention(store, settings, audit, wake=spooler.wake)
    waiters = Waiters()
    supervisor = Supervisor(
        store,
        spooler,
        start_runner=processes.start_runner,
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
    applications = Applications(
        endpoints.serve, store, supervisor=supervisor, catalog=catalog, make=processes.application
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
            spares=processes.spares,
        ),
        catalog=catalog,
        bundles=bundles,
        files=files,
        chunked=chunked,
        endpoints=endpoints,
        keys=access.keys,
        users=access.users,
        sessions=access.sessions,
        attempts=access.attempts,
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
            lambda: housekeeping.collect(blobs, chunked, settings),
            lambda: housekeeping.index(store),
            retention.keep,
            traces.keep,
        ),
        leadership=leadership,
        send=control.append.remote,
        settings=settings,
        streams=access.streams,
        rates=access.rates,
        start=start,
        url=start.url,
        node_url=start.node_url,
        code=code,
        started=line.timestamp(),
        data_dir=data_dir,
    )


def _storage(
    store: Store, start: Start, settings: Settings, tasks: Tasks
) -> tuple[Disk, Blobs, ChunkedUploads]:
    """Return the disk, the blobs and the uploads that agents send in chunks."""
    data_dir = Path(start.data_dir)
    disk = Disk(data_dir, settings, store.engine)
    store.engine.require_room = disk.require_room
    tasks.keep(disk.keep)
    kept = address.make(start.blobs, data_dir)
    blobs = Blobs(data_dir, store, settings, disk, kept=kept)
    return disk, blobs, ChunkedUploads(data_dir, blobs, settings, disk)
