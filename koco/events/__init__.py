"""What an execution did, in order: kinds, statuses, and the lines they travel as.

Pure: no I/O, no clock but the one that stamps an event. `model` has the words,
`line` the encoding that a producer makes once and that nothing on the way to a
reader parses again.
"""
