"""The Model Context Protocol: flows as tools, executions as tasks and resources.

Own code, because the official SDK would double the control plane's start and memory; the official
clients and the conformance kit test it (docs/architecture.md has the figures). `versions` has the
revisions that are spoken, `routes` the endpoint, `methods` what is asked there. All but the routes
are imported at the first request.
"""
