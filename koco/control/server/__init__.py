"""HTTP connections: where the API listens, and limits on what one connection may take.

It may import `access`. Begin with `listener`.
"""
