"""Refuse all work in a worker that could not be prepared.

If the setup function raised, Ray would end the process, and callers would see a crash without a
cause. So the process stays for its first task. The task raises the original error, and nothing of
the author's is imported or run. Then the process ends. An actor ends at once, and Ray reports the
reason in the error of its calls.

This replaces three functions of Ray, at the places where Ray 2.60 looks them up.
"""

import sys
from typing import Any, NoReturn


def refuse(failure: Exception) -> None:
    """Make this process only raise the failure from now on, and log it at once."""
    import ray
    from ray._private.function_manager import FunctionExecutionInfo

    def deny(*_: Any, **__: Any) -> NoReturn:
        raise failure

    def denied(_: Any, descriptor: Any) -> FunctionExecutionInfo:
        # Set the counter as Ray does for its functions: the process ends after this call.
        manager._num_task_executions[descriptor.function_id] = 0
        return FunctionExecutionInfo(
            function=deny, function_name=descriptor.function_name, max_calls=1
        )

    worker = ray._private.worker.global_worker
    manager = worker.function_actor_manager
    manager.load_actor_class = deny
    manager.get_execution_info = denied
    worker.deserialize_objects = deny  # arguments may need the service's modules
    sys.stderr.write(f"koco: this process could not be prepared, and runs nothing: {failure}\n")
