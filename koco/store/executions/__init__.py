"""Executions: launched, listed, searched, deleted; and the feed of their changes.

It imports `stream`, `files`, `audit` and `sql`. Begin with `repository`.
"""
