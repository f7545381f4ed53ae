"""Steps: calls whose outcome is recorded, so that a resumed flow does not make them again.

`places` knows where in a flow's code a call is made, and `journal` what is recorded of an execution
and what goes on in it. Flows use `decorator`, and through the tracer `tracing` and `waits`.
`attempts` runs a step, with its retries and its timeout; `outcomes` encodes how it ended.

A runner makes a `Journal` for each execution, passes it to the tracer, and calls `Journal.enter` in
the context in which the flow runs. Its loop makes tasks with `places.context_for_task`. It calls
`places.adopt` where a flow moves to another thread.
"""
