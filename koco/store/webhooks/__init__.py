"""Webhooks: who is told of what, and the deliveries to them.

`koco.store.stream.outbox` enters a delivery in the same change as the status that it tells of.
"""
