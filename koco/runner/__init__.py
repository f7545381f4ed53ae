"""Everything that runs inside a runner's process.

A runner has two event loops, each in its own thread. On Ray's loop the runner answers the control
plane and sends events; on the flows' loop the user's coroutines run. A flow that blocks its loop
only stops itself: its events are still sent, and it can still be cancelled.
"""
