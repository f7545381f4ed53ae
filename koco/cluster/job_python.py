"""Pass the path of Ray's own Python to the entrypoint of a job.

Ray runs an entrypoint in a shell, so `python` there is the first one on PATH. That may be a Python
without Ray, for example if Ray was started by its absolute path. The process that starts the shell
is a Ray worker and runs with the right Python. It calls the hook below when it starts, and the
shell inherits its environment.

Standard library only, because the cluster may have none of koco's requirements.
"""

import os
import sys

#: The environment variable with the path of Ray's Python.
PYTHON = "KOCO_RAY_PYTHON"

#: The function below, in the form that Ray's environment variable takes.
HOOK = "koco.cluster.job_python.tell"


def tell() -> None:
    """Put the path of this process's Python into its environment."""
    os.environ[PYTHON] = sys.executable
