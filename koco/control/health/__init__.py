"""Finds problems that keep executions from running, for `koco doctor` and `/health`.

It checks all parts in the container. Begin with `doctor`.
"""
