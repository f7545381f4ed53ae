"""Files in the data directory: blobs, uploads, and the room on the disk.

It imports `settings` only. Begin with `disk`.
"""
