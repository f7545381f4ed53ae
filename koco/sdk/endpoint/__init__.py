"""A service's own endpoint: a FastAPI application whose `enter` routes launch flows.

It may import `entrypoints` and `process`. Begin with `serve_api`.
"""
