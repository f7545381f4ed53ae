"""Views that change while somebody looks: `koco top` and `koco ps --watch`.

`feed` says that something has changed, `listing` is a list of executions that stays current.
"""
