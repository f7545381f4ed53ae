"""The events of an execution: kinds, statuses, batches, and their encoding as lines.

Pure: no I/O, and no clock except for an event's time stamp. `model` defines the
kinds and statuses. `line` encodes an event once, in its producer; nothing between
the producer and a reader parses it again.
"""
