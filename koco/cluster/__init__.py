"""Ray's edges: jobs, Serve, runners as actors, nodes and their processes. Ray's errors end here.

It may import `runner`, `sdk` and the packages below them. Start reading with `runners`.

Code above this package never catches Ray's exceptions. Code in it knows nothing about executions.
"""
