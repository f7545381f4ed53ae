"""Services: their flows, endpoints, secrets and bundles.

It may import `storage`. Begin with `catalog`.
"""
