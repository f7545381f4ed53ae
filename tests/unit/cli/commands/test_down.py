"""What `koco down` says of the executions whose processes it stops."""

from koco.cli.commands.down import describe_open


def test_tells_those_that_go_on_from_those_that_end() -> None:
    """What is queued has no process, so it is not named."""
    executions = {"queued": 3, "running": 3, "awaiting": 1, "sleeping": 4}
    assert list(describe_open(executions, {"running": 2, "awaiting": 1})) == [
        "5 executions will go on at the next `koco up`: 1 running, 4 sleeping",
        "3 executions end with an error at the next `koco up`: 2 running, 1 awaiting",
    ]
    assert list(describe_open({"queued": 1}, {})) == []
    assert list(describe_open({"sleeping": 1}, {})) == [
        "1 execution will go on at the next `koco up`: 1 sleeping"
    ]
