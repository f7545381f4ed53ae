"""Steps around every route: etags, limits, idempotency, metrics.

It may import `http` and `openapi`, but no route. `koco.api.app` sets the order.
"""
