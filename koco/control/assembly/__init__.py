"""Makes the parts of a control plane over one store, and says which need which.

Whoever looks for who has what begins with `whole`.
"""
