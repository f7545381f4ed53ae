"""Services: their flows, their own endpoints, their secrets and their bundles.

It may import `storage`. Begin with `catalog`.
"""
