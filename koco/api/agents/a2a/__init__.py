"""A2A 1.0: each flow is an agent that other agents find, ask, follow, answer and cancel.

The specification is at a2a-protocol.org. This package translates between its messages and koco's
executions; it keeps nothing itself. The fid is the task's id.

`cards` describes agents, `signing` signs the cards. `proto_json` and `requests` read what clients
send, `part_values` turns a message's parts into inputs and answers. `tasks`, `messages` and
`artifacts` show an execution as a task, `updates` shows its events. `operations` has what agents
do, and `json_rpc` and `http_json` are the two bindings over it. `faults` are its errors.

Own code, because the protocol as koco needs it is small: the official SDK would add six packages,
0.4 s of start-up and 29 MB to the control plane. The tests talk to it with that SDK's client.
"""
