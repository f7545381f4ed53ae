"""What a worker that could not be prepared does with the work that Ray gives it: it refuses.

If the setup function raised, Ray would end the process, and whoever waits for a task would be told
of a crash without any cause. So the process stays for its first task: that raises what has gone
wrong, and nothing of the author's is imported or run. Then the process ends. An actor ends at once,
and Ray tells why in the error of its calls.

This replaces three functions of Ray's own, at the places where Ray 2.60 looks them up.
"""

import sys
from typing import Any, NoReturn


def refuse(failure: Exception) -> None:
    """Have this process do nothing but raise a failure; its log says so at once."""
    import ray
    from ray._private.function_manager import FunctionExecutionInfo

    def deny(*_: Any, **__: Any) -> NoReturn:
        raise failure

    def denied(_: Any, descriptor: Any) -> FunctionExecutionInfo:
        # Counted as Ray counts calls of its functions, and the first one is the last.
        manager._num_task_executions[descriptor.function_id] = 0
        return FunctionExecutionInfo(
            function=deny, function_name=descriptor.function_name, max_calls=1
        )

    worker = ray._private.worker.global_worker
    manager = worker.function_actor_manager
    manager.load_actor_class = deny
    manager.get_execution_info = denied
    worker.deserialize_objects = deny  # arguments may be objects of the service's modules
    sys.stderr.write(f"koco: this process could not be prepared, and runs nothing: {failure}\n")
