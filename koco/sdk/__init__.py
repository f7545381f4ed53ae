"""The names that a flow imports, and the code that calls a flow.

A flow's author sees this package through `koco` itself: the tracer, launches, endpoints.
`entrypoint` and `signature` are the other side: they find the callable, read which inputs it
takes, and call it.

This package runs in runners, in a flow's Ray tasks, and in tests without Ray. So code that needs
Ray imports it inside functions. It knows nothing of the control plane except the messages that it
sends there.
"""
