"""Why a runner's process ended, as a sentence made from Ray's message."""

import pytest

from koco.cluster.runners import _cause

PREPARED = """The actor died unexpectedly before finishing this task.
	class_name: Runner
	pid: 14142
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker \
exit detail: Failed to execute the setup hook method, koco.sdk.worker_setup.prepare from \
``ray.init()``. For more details, see the error trace below.
Traceback (most recent call last):
  File "/ray/_private/runtime_env/setup_hook.py", line 209, in load_and_execute_setup_hook_module
    setup_func()
  File "/koco/sdk/process/release_secrets.py", line 4, in fetch
    raise KocoError(message)
koco.errors.KocoError: there is no secret 'LLM_KEY'
hint: `koco secret set LLM_KEY`

The actor never ran - it was cancelled before it started running.
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            PREPARED,
            "its process (pid 14142) could not be prepared: there is no secret 'LLM_KEY'",
        ),
        (
            "pid: 7\nWorker exit detail: Worker exits with an exit code None.",
            "its process (pid 7) ended: Worker exits with an exit code None.",
        ),
        ("The actor's node has died.", "its node was lost, and its last output with it"),
    ],
)
def test_a_cause_is_a_sentence(text: str, cause: str) -> None:
    """An error of the setup hook keeps its cause and loses Ray's frames."""
    assert _cause(text) == cause
