"""Ray's edges: jobs, Serve, runners as actors, nodes and their processes. Ray's errors end here.

It may import `runner`, `sdk` and what is below them. Begin with `runners`.

Nothing above this package catches an exception of Ray's, and nothing in it knows what an
execution is.
"""
