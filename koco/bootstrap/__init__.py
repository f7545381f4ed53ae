"""`koco up` and `koco down`: heads, upgrades, and the process that joins Ray as a driver.

It may import everything except `cli`. Begin with `driver`, which runs on the head's machine and
calls `up` or `down`. `job` does the same on a cluster elsewhere, through Ray's Jobs API. The
modules that `cli` uses (`local_head`, `running_heads`, `machine_check`, `package`, `job`) do not
import Ray.
"""
