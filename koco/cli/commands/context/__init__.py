"""The commands of `koco context`."""
