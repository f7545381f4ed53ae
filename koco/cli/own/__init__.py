"""Services of one's own (`hello~ada`): made for `koco dev` and `koco run --remote`, then removed.

`services` deploys and removes them. `guard` removes them if the command is killed.
"""
