"""The engine for a PostgreSQL server, 15 or newer, by psycopg 3.

Begin with `engine`. All changes go
through one connection, which `writer` owns: it has the store's advisory lock, so no other control
plane writes. `readers` are threads with a connection each. `search` is the full text index.
"""
