"""Exceptions of Ray tasks, as their authors raised them."""

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayError, RayTaskError, UnserializableException

from koco.sdk.process.tracebacks import describe
from koco.sdk.steps import previews

#: As Ray writes it where a task fails: with the frames of Ray and koco.
FRAMES = """\
  File "/tmp/koco-1/koco/sdk/ray_work/calls.py", line 160, in follow
    return function(*args, **more)
           ^^^^^^^^^^^^^^^^^^^^^^^
  File "/tmp/koco-1/koco/sdk/ray_work/tasks.py", line 128, in carrying
    return function(*args, **kwargs)
           ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/tmp/ray/py_modules_files/_ray_pkg_1f/reader/amounts.py", line 12, in extract
    raise ValueError("no amounts")
"""
TASK = f"Traceback (most recent call last):\n{FRAMES}"
OWN_FRAME = """\
Traceback (most recent call last):
  File "reader/amounts.py", line 12, in extract
    raise ValueError("no amounts")
"""
IN_RAY = "\x1b[36mray::extract()\x1b[39m (pid=42, ip=192.0.2.7)\n"


class OwnError(Exception):
    """An author's exception."""


def failed(cause: BaseException, text: str) -> RayTaskError:
    """Return what Ray raises where the result of a failed task is read."""
    error = RayTaskError("extract", text, cause, "ray::extract", 42, "192.0.2.7")
    return error.as_instanceof_cause()


def raised(exc: BaseException) -> dict[str, Any]:
    """Return the description of an exception that is raised in a flow."""
    try:
        raise exc
    except BaseException as caught:  # noqa: BLE001 - of any class
        return describe(caught)


def frames(text: str) -> list[str]:
    """Return the functions of a traceback."""
    return [line.rpartition(" in ")[2] for line in text.splitlines() if line.startswith("  File ")]


def test_an_error_of_a_task_is_the_author_s_own() -> None:
    """Type and message are those of the exception; its frames come before the caller's."""
    found = raised(failed(ValueError("no amounts"), f"{TASK}ValueError: no amounts"))
    assert (found["type"], found["message"]) == ("ValueError", "no amounts")
    assert found["traceback"].startswith(f"{OWN_FRAME}ValueError: no amounts\n\nThe above exc")
    assert frames(found["traceback"]) == ["extract", "raised"]
    assert found["traceback"].endswith("\nValueError: no amounts")
    for foreign in ("koco/sdk/ray_work", "ray::", "RayTaskError", "TaskTraceback", "^^^^"):
        assert foreign not in found["traceback"]


def test_the_author_s_carets_stay() -> None:
    """Only those of the frames that are left out go with them."""
    text = f"{TASK}    ~~~~~^^^^\nValueError: no amounts"
    assert "    ~~~~~^^^^" in raised(failed(ValueError("no amounts"), text))["traceback"]


def test_a_task_of_a_task_comes_first() -> None:
    """The frames of the task that failed are above those of the task that waited for it."""
    inner = str(failed(ValueError("no amounts"), f"{TASK}ValueError: no amounts"))
    text = TASK.replace("in extract", "in outer")
    text += f"ray.exceptions.RayTaskError(ValueError): {inner}"
    found = raised(failed(ValueError("no amounts"), text))
    assert frames(found["traceback"]) == ["extract", "outer", "raised"]
    assert found["traceback"].count("\nValueError: no amounts") == 3
    assert "ray" not in found["traceback"].replace("test_ray_errors.py", "")


def test_an_exception_that_ray_cannot_load_is_named_too() -> None:
    """Its class and message are read from the task's traceback."""
    text = f"{IN_RAY}{FRAMES}reader.amounts.TooLate: by 3 days\nand 2 hours"
    error = UnserializableException(f"ray.exceptions.RayTaskError: {text}\n")
    found = raised(error)
    assert (found["type"], found["message"]) == ("TooLate", "by 3 days\nand 2 hours")
    assert frames(found["traceback"]) == ["extract", "raised"]
    held = failed(RayError("Exception reader.TooLate isn't serializable: …"), f"{TASK}x.TooLate: 3")
    assert [raised(held)[each] for each in ("type", "message")] == ["TooLate", "3"]


def test_an_error_of_an_actor_s_constructor_is_its_own() -> None:
    """Ray raises another error where the actor's method is called."""
    text = IN_RAY.replace("ip=192.0.2.7", "ip=192.0.2.7, actor_id=2f, repr=<Act object at 0x7f>")
    said = "The actor died because of an error raised in its creation task, "
    error = ActorDiedError()
    error.error_msg = f"{said}{text}{FRAMES}ValueError: bad start"
    found = raised(error)
    assert (found["type"], found["message"]) == ("ValueError", "bad start")


def test_the_death_of_an_actor_keeps_its_type() -> None:
    """Nothing is known of its code."""
    assert raised(ActorDiedError())["type"] == "ActorDiedError"


def test_causes_and_groups_show_the_author_s_own() -> None:
    """An author's error may have a task's as its cause, or as a part."""
    task = failed(ValueError("no amounts"), f"{TASK}ValueError: no amounts")
    try:
        raise OwnError("the report") from task
    except OwnError as exc:
        found = describe(exc)
    assert (found["type"], found["message"]) == ("OwnError", "the report")
    assert "ray::" not in found["traceback"]
    assert OWN_FRAME in found["traceback"]

    async def fails() -> None:
        raise failed(ValueError("no amounts"), f"{TASK}ValueError: no amounts")

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(both())
    text = describe(caught.value)["traceback"]
    assert "ValueError: no amounts" in text
    assert "RayTaskError" not in text
    assert "ray::" not in text


def test_a_step_s_error_is_the_author_s_own() -> None:
    """So lists of steps show it as they show one of a plain function."""
    task = failed(ValueError("no amounts"), f"{TASK}ValueError: no amounts")
    assert previews.of_error(task) == "ValueError: no amounts"
    assert task.__cause__ is None


@pytest.mark.parametrize("file", ["python/ray/includes/object_ref.pxi", asyncio.futures.__file__])
def test_frames_that_read_a_result_are_left_out(file: str) -> None:
    """Those of Ray's compiled code, and those of a future."""
    at: dict[str, Any] = {}
    exec(compile("def __await__(exc):\n    raise exc\n", file, "exec"), at)

    def reads() -> None:
        at["__await__"](failed(ValueError("no amounts"), f"{TASK}ValueError: no amounts"))

    try:
        reads()
    except ValueError as exc:
        found = describe(exc)
    assert frames(found["traceback"])[1:] == [
        "test_frames_that_read_a_result_are_left_out",
        "reads",
    ]
