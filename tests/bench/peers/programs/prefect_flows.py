"""Prefect: two flows, served by one process that starts a process for each run."""

from prefect import flow, serve
from prefect.flow_runs import suspend_flow_run
from trivial_work import began, work


@flow
def trivial(number: int, seconds: float = 0.0) -> int:
    """Do the work."""
    return work(number, seconds)


@flow(persist_result=True)
def waiting(number: int) -> int:
    """Wait for somebody; the process ends meanwhile."""
    began(number)
    suspend_flow_run(timeout=86_400)
    return number


if __name__ == "__main__":
    # Five is what a runner takes that is not told how many.
    serve(trivial.to_deployment(name="peers"), waiting.to_deployment(name="peers"), limit=5)
