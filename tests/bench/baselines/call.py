"""A bare Ray actor's call and its answer, from a driver on the same node."""

import json
import sys

import ray

from tests.bench.meters import Spread, samples_ms


class Echo:
    """An async actor, as a runner is one."""

    async def echo(self, blob: bytes) -> bytes:
        """Return what was given."""
        return blob


def main() -> None:
    """Print the spread of so many calls (milliseconds) as JSON."""
    address, count = sys.argv[1], int(sys.argv[2])
    ray.init(address=address, namespace="bench", log_to_driver=False, configure_logging=False)
    actor = ray.remote(Echo).options(num_cpus=0, enable_task_events=False).remote()
    spread = Spread.of(samples_ms(count, lambda: ray.get(actor.echo.remote(b"x" * 100))))
    ray.kill(actor)
    print(json.dumps({"p50": spread.p50, "p99": spread.p99}))


if __name__ == "__main__":
    main()
