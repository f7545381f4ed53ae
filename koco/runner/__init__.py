"""The runner's process: it imports the entrypoints of one release and runs executions of them.

It may import `sdk`, `events` and `forms`; never `control` or `cluster`. `actor` is the Ray actor,
`executor` does the work, and `flow` runs one entrypoint.

A runner has two event loops, each in a thread of its own: Ray's, on which the runner answers the
control plane and sends events, and the flows', on which the user's coroutines run. A flow that
blocks its loop stops neither the sending of its events nor a request to cancel it.
"""
