"""The commands of `koco user`."""
