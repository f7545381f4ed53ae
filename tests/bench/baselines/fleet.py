"""So many bare Ray actors from cold, each sleeping: the floor for a process each."""

import json
import os
import sys
import time

import psutil
import ray

from tests.bench.meters import Memory


class Sleeper:
    """An actor with an environment of its own, as a runner has one."""

    async def sleep(self, seconds: float) -> int:
        """Sleep; return the process."""
        import asyncio

        await asyncio.sleep(seconds)
        return os.getpid()


def main() -> None:
    """Print how long they took together (s), and their memory each (MB), as JSON."""
    address, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    ray.init(address=address, namespace="bench", log_to_driver=False, configure_logging=False)
    begin = time.perf_counter()
    options = {"num_cpus": 0, "runtime_env": {"env_vars": {"KOCO_BENCH": "fleet"}}}
    actors = [ray.remote(Sleeper).options(**options).remote() for _ in range(count)]
    pids = ray.get([actor.sleep.remote(seconds) for actor in actors])
    took = time.perf_counter() - begin
    each = Memory.of([psutil.Process(pid) for pid in pids]).each()
    for actor in actors:
        ray.kill(actor)
    print(json.dumps({"took": took, "pss": each.pss, "uss": each.uss, "rss": each.rss}))


if __name__ == "__main__":
    main()
