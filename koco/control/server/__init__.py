"""HTTP connections: the API's listeners, and limits on the use of one connection.

It may import `access`. Begin with `listener`.
"""
