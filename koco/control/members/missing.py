"""Which processes of a control plane do not run, and what to do about it."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from koco.cluster.placement import Node
from koco.control.start import Start
from koco.sdk.process import control_client
from koco.store.engine.protocol import Engine


class Missing(msgspec.Struct, frozen=True):
    """A process that does not run."""

    name: str
    why: str


async def find(engine: Engine, start: Start, nodes: Iterable[Node]) -> list[Missing]:
    """Return the processes of a control plane that do not have its store open."""
    if start.api == 1:
        return []
    names = [each.name for each in await engine.members()]
    return among(names, start, [each.resources for each in nodes if each.is_alive])


def among(
    names: Collection[str], start: Start, nodes: Sequence[Mapping[str, float]]
) -> list[Missing]:
    """Return the processes that are not among `names`, those that have the store open.

    `nodes` has the resources of each node that is alive.
    """
    places = [place for each in names if (place := control_client.place(each))]
    if not places:
        return []
    generation = max(places)[0]
    waits = without_place(start, nodes)
    wanted = [("control.log", control_client.name(generation), "")]
    for number in range(1, start.api):
        wanted.append((f"control-{number}.log", control_client.member(generation, number), waits))
    return [
        Missing(name, why or f"it starts, or {start.data_dir}/{log} says why it has ended")
        for log, name, why in wanted
        if name not in names
    ]


def without_place(start: Start, nodes: Sequence[Mapping[str, float]]) -> str:
    """Return why processes wait for a node with the resource, and how to start one, or ""."""
    needed, room = start.api - 1, room_for_members(start, nodes)
    if not start.api_on or room >= needed:
        return ""
    one = f"ray start --address HEAD:6379 --resources '{{\"{start.api_on}\": 1}}'"
    return (
        f"it waits for a node with {start.api_on} ({needed} needed, {room} there):"
        f" `{one}` starts such a node"
    )


def room_for_members(start: Start, nodes: Sequence[Mapping[str, float]]) -> int:
    """Return how many processes beside the first can run. Each takes one of the resource."""
    if not start.api_on:
        return start.api - 1
    return sum(int(node.get(start.api_on, 0)) for node in nodes)
