"""Steps: calls whose outcome is recorded, so that a resumed flow does not make them again.

`places` knows where in a flow's code a call is made, and `journal` what is recorded of an execution
and what goes on in it. `decorator` and `waits` are what flows use, the latter through the tracer.
`attempts` runs a step, with its retries and its timeout; `outcomes` encodes how it ended.
"""
