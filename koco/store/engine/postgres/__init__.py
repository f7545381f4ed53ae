"""The engine for a PostgreSQL server, 15 or newer, by psycopg 3.

Begin with `engine`. All changes of a process go through one connection, which `writer` owns.
`rights` has the locks: by them, no other control plane writes, or those that share the database
write in turn (`sharing`). `readers` are threads with a connection each. `search` is the full text
index.
"""
