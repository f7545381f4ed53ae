"""Events: into the store in batches, and out to every reader in order.

It may import `storage`. Begin with `spooler`.
"""
