"""The commands of `koco key`."""
