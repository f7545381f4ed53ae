"""Requests at a process of the control plane that does not lead: answered here, or by the leader.

`rules` says which are answered here. All others go to the leader (`hop`), with a proof of where
they come from (`proof`). Begin with `app`.
"""
