"""A flow that spreads its work over the cluster."""
