"""The truth: services, releases, bundles, executions, events and keys, on disk.

Everything else (actors, environments, connections) can be rebuilt from here.
`protocol` says what a store must do; `sqlite` does it. All methods are
coroutines called from one event loop; what a method reports as done is on disk.
"""
