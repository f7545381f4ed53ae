"""Ray's own Python, told to the entrypoint of a job.

Ray runs an entrypoint in a shell, so `python` there is whatever PATH finds. That may be a Python
without Ray, as where Ray was started by its absolute path. The process that starts the shell is a
worker of Ray's and runs with the right one. It begins with the hook below, and the shell inherits
its environment.

Standard library only: a cluster may have nothing of what koco needs.
"""

import os
import sys

#: The environment variable with the path of Ray's Python.
PYTHON = "KOCO_RAY_PYTHON"

#: The function below as Ray's environment variable names it.
HOOK = "koco.cluster.job_python.tell"


def tell() -> None:
    """Put the path of this process's Python into its environment."""
    os.environ[PYTHON] = sys.executable
