"""A flow that survives the death of its process."""
