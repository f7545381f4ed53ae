"""The commands of `koco schedule`."""
