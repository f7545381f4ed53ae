"""The commands of `koco files`."""
