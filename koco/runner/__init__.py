"""What runs inside a runner's process.

Two event loops, in threads of their own: Ray's, on which the runner answers the
control plane and sends events, and the flows', on which coroutines of the user
run. A flow that blocks its loop stops itself, and neither the events that it has
written nor a request to cancel it.
"""
