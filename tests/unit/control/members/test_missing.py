"""Which processes of a control plane are missing, and what their user should do."""

from koco.control.members import missing
from koco.control.start import Start

START = Start(data_dir="/data", port=8400, url="", api=3, store="postgresql://db/koco")
ON = Start(data_dir="/data", port=8400, url="", api=3, api_on="koco-api")


def test_one_that_has_ended_is_looked_up_in_its_log() -> None:
    """Each has its own."""
    names = ["control:2", "member:2:1", "member:1:2"]
    [gone] = missing.among(names, START, [{"CPU": 4}])
    assert gone.name == "member:2:2"
    assert gone.why == "it starts, or /data/control-2.log says why it has ended"
    assert [each.name for each in missing.among(["member:2:1", "member:2:2"], START, [])] == [
        "control:2"
    ]


def test_one_without_a_node_says_how_to_start_such_a_node() -> None:
    """Each process takes one of the resource. The first one needs none."""
    nodes = [{"CPU": 4}, {"koco-api": 1.0}]
    [gone] = missing.among(["control", "member:1:1"], ON, nodes)
    assert gone.why == (
        "it waits for a node with koco-api (2 needed, 1 there):"
        " `ray start --address HEAD:6379 --resources '{\"koco-api\": 1}'` starts such a node"
    )
    [first] = missing.among(["member:1:1", "member:1:2"], ON, nodes)
    assert first.why == "it starts, or /data/control.log says why it has ended"
    assert missing.without_place(ON, [{"koco-api": 2.0}]) == ""
    assert missing.without_place(START, []) == ""
