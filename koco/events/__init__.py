"""Events: kinds, statuses, and the lines of JSON that they travel as.

Pure models: it imports `errors` and `tokens` only. Begin with `model`, then `line`.

`line` encodes an event once, at its producer; nothing on the way to a reader parses it again.
"""
