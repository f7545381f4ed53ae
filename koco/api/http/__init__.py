"""Shared by all routes: authentication, errors, the audit log, headers, streaming.

It may import `openapi`, but no route. Begin with `auth`: a route without a guard is refused.
"""
