"""The commands of `koco blobs`."""
