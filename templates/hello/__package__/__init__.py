"""A flow that greets."""
