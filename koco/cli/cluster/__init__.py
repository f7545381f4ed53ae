"""The operations of `koco up` and `koco down`: here (`local`) and with `--ray` (`remote`).

It may import `terminal` and `contexts`. It does not import Ray: `driver_process` starts the process
that does.
"""
