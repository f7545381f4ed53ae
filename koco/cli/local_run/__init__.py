"""`koco run ./file.py:function`: run a function without a manifest and without a deploy.

By default it runs in this process, in the world of `koco.testing`: `source` finds it, `execution`
runs it in a thread, `desk` has its locks answered at the terminal. `remote` runs it on the
cluster, as a release that goes when the execution has ended. Begin reading in `local`.
"""
