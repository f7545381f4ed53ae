"""The HTTP API: litestar routes that check, call one operation and render its result.

It may import `control` and everything below it; nothing but `bootstrap` imports it. Begin with
`app`, which lists all routes and what stands around them; `node_app` is the listener for nodes.
"""
