"""Ray's edges: starting a head, and runners as actors. Ray's errors end here.

Nothing above this package catches an exception of Ray's, and nothing in it
knows what an execution is.
"""
