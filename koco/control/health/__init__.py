"""What keeps executions from running: `koco doctor`, `/health` and the proof that events travel.

It looks at the whole container. Begin with `doctor`.
"""
