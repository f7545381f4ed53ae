"""The durable state: services, releases, executions, events, files and keys, on disk.

It imports `events` and `errors`. Begin with `model`, then `protocol`.

Everything else (actors, environments, connections) can be rebuilt from it. All methods are
coroutines called from one event loop. When one returns, its change is on disk.
"""
