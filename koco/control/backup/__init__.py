"""Backups of a control plane: their format, making one of a running one, restoring one.

`archive` is the format, `making` writes one from the parts of a control plane, and `restoring`
fills a data directory from one. It may import `services`, `storage` and what is below them.
"""
