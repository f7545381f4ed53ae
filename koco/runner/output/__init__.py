"""What a flow writes: captured, cut into lines, kept on the node, sent to the control plane.

It may import `process`. Begin with `capture`, then `spool`.
"""
