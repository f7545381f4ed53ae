"""The HTTP API: litestar routes that check a request, call one operation and return a struct.

It may import `control` and everything below it; only `bootstrap` imports it. Begin with `app`,
which lists all routes and the layers around them. `node_app` is the listener for nodes.
"""
