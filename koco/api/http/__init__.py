"""What all routes share: authentication, errors, the audit log, headers, streaming.

It may import `openapi`, and no route. Begin with `auth`: a route without a guard serves nobody.
"""
