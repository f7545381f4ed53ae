"""Work on many executions: act on all that are selected, or launch one for each line of a file.

Each execution is reported by itself. One that is refused does not stop the others, and the exit
code says that there was one. A command that was interrupted can be repeated.
"""
