"""Ray tasks and actors that an execution starts: recorded, given a tracer, ended with it.

It may import `process` and `tracer`. Begin with `tasks`.
"""
