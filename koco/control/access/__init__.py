"""Who may do what: keys, users, sessions, scopes, throttling, and the audit log.

It may import `settings` and `tasks`. Begin with `caller`.
"""
