"""The peers, a module for each product."""

from tests.bench.peers.peer import Peer


def every() -> dict[str, type[Peer]]:
    """Return all peers by name, in the order of the table."""
    from tests.bench.peers.products import celery, dbos, koco, langgraph, prefect, ray_jobs

    peers: tuple[type[Peer], ...] = (
        koco.Koco,
        koco.DurableKoco,
        koco.KocoOnPostgres,
        dbos.DbosOnSqlite,
        dbos.DbosOnPostgres,
        celery.Celery,
        langgraph.LangGraph,
        prefect.Prefect,
        ray_jobs.RayJobs,
    )
    return {peer.name: peer for peer in peers}
