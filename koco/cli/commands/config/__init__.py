"""The commands of `koco config`."""
