"""The runners of releases: pools, queues, concurrency limits, liveness, recovery after a death.

This package may import `services` and `events`. Begin with `pool`.
"""
