"""What a flow imports, and how koco calls what a flow wrote.

A flow's author meets this package through `koco` itself: the tracer, and later
an endpoint of one's own. `entrypoint` and `signature` are the other side of that
meeting: they find the callable, tell which inputs it takes, and hand them over.

Runs in the runner's process, in Ray tasks of the flow's own and in tests without
Ray: whatever needs Ray imports it inside functions. Knows nothing of the control
plane but the messages it sends there.
"""
