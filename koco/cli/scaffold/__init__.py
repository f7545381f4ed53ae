"""What `koco init` makes: projects from templates, and manifests for code that exists.

Every file is made in memory, and checked against those that exist, before the first is written.
Begin reading in `rendering`.
"""
