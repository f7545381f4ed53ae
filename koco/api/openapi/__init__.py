"""The OpenAPI document, which is made from the routes, and how routes annotate themselves.

It imports nothing else of the API. Begin with `annotations`, then `generator`.
"""
