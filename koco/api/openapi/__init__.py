"""The OpenAPI document, made from the routes, and the annotations that routes use for it.

It imports nothing else of the API. Begin with `annotations`, then `generator`.
"""
