"""`koco context`: the control planes that are known, one module for each of its commands."""
