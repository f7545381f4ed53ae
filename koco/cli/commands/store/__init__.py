"""The commands of `koco secret`."""
