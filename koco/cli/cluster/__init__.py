"""What `koco up` and `koco down` do: on this machine (`local`), and with `--ray` (`remote`).

It may import `terminal` and `contexts`. It does not import Ray: `driver_process` starts the
process that does.
"""
