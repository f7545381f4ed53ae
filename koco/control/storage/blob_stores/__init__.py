"""Where the bytes of blobs are: a directory, or a bucket of S3-compatible storage.

`protocol` has the interface, which knows nothing of users, uploads or references: `Blobs` does.
Begin with `address`, which makes the one that `koco up --blobs` names. It imports `disk`, and the
library for S3 only where S3 is used.
"""
