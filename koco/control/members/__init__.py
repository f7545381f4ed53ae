"""The other processes of a control plane, each on a node of its own if there are enough.

May import `koco.control.start` and what stands below it. Begin with `actors`.
"""
