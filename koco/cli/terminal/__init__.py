"""Terminal input and output: output, the view of events, times, NDJSON for programs.

It imports nothing else of the command line. Begin with `output`.
"""
