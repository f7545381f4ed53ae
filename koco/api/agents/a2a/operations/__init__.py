"""What an agent does when it is asked: the operations of A2A, whatever the binding.

`agent` is the agent that a request is for: one flow, or all flows of the caller. `view` shows
executions as tasks. `sending` begins tasks and answers their questions, `following` streams what
becomes of them, `listing` and `pushes` are the rest. `table` has them all by their names. `notices`
makes what is sent to the URLs of push notification configurations.
"""
