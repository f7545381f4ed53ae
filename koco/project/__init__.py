"""The user's project on disk: `koco.toml`, which files ship, and the bundle made from them.

It may import `manifest` and `client`. Begin with `project`.
"""
