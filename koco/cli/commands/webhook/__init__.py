"""The commands of `koco webhook`."""
