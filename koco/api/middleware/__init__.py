"""What happens to every request or answer around its route: etags, limits, idempotency, metrics.

It may import `http` and `openapi`, and no route. `koco.api.app` gives the order.
"""
