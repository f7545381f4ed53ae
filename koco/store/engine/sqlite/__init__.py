"""The embedded engine: one SQLite file in WAL mode, one writer, several readers.

Begin with `engine`. Changes are grouped, and go through `writer`. Quick reads run on the event
loop's own connection: an indexed read of a page in memory takes about ten microseconds, less than
a switch to another thread. All other reads go to `readers`.
"""
