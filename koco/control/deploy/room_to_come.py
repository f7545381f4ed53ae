"""Predicts whether a release that waits for room will get it without anybody's help.

Executions and Ray tasks give their resources back when they end. A replica gives its back when its
release has been replaced, and for that the next release of its service must find room first. So
several services that are changed at once fit one after the other, or block one another for ever.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from koco.cluster import placement
from koco.cluster.placement import Node
from koco.cluster.resource_holders import Holder
from koco.cluster.serve import name_of
from koco.cluster.serve_failures import Request

#: A service and the number of its release.
Key = tuple[str, int]


class _Pool(Protocol):
    @property
    def is_live(self) -> bool:
        """Whether its release has not been replaced."""
        ...


@dataclass
class Outlook:
    """The cluster as it is, and the releases that are there or starting."""

    nodes: list[Node]
    holders: list[Holder]
    #: The pools of all releases that have one.
    pools: Mapping[Key, _Pool]
    #: The requests of replicas that wait, by their application's name.
    requests: Mapping[str, list[Request]]
    #: The names of koco's applications. Those without a pool are about to be removed.
    ours: Collection[str]

    def has_room_for(self, release: Key) -> bool:
        """Return whether a release's endpoint fits when everything under way has ended."""
        wants = self.requests.get(name_of(*release)) or []
        replaced = self._replaced()
        ending = {name for name in self.ours if not self._is_live(name)}
        waiting = {key: formers for key, formers in replaced.items() if key != release}
        nodes = [self._when_ended(node, ending) for node in self.nodes]
        while not _fit(wants, nodes):
            # Any release that fits now goes live, and its former one's replicas end.
            key = next((k for k in waiting if _fit(self._requests(k), nodes)), None)
            if key is None:
                return False
            nodes = _place(self._requests(key), nodes)
            nodes = [self._without(node, waiting[key] - ending) for node in nodes]
            ending |= waiting.pop(key)
        return True

    def _requests(self, key: Key) -> list[Request]:
        # Without any, its endpoint has room already, or nobody knows yet.
        return self.requests.get(name_of(*key)) or []

    def _is_live(self, name: str) -> bool:
        return any(name_of(*key) == name and pool.is_live for key, pool in self.pools.items())

    def _replaced(self) -> dict[Key, set[str]]:
        """Return the starting releases, each with the applications that it replaces."""
        numbers: dict[str, list[int]] = defaultdict(list)
        for (service, number), pool in self.pools.items():
            if pool.is_live:
                numbers[service].append(number)
        found = {}
        for service, each in numbers.items():
            *formers, newest = sorted(each)
            if formers:
                found[service, newest] = {name_of(service, number) for number in formers}
        return found

    def _when_ended(self, node: Node, ending: set[str]) -> Node:
        """Return a node with only the replicas on it that stay."""
        replicas = [each for each in self.holders if each.application]
        return _changed(node, [each for each in replicas if each.application not in ending], -1)

    def _without(self, node: Node, ended: set[str]) -> Node:
        return _changed(node, [each for each in self.holders if each.application in ended], 1)


def _changed(node: Node, holders: list[Holder], sign: int) -> Node:
    resources = dict(node.resources)
    for holder in holders:
        if holder.node == node.id:
            for name, amount in holder.resources.items():
                # Ray counts in ten-thousandths.
                resources[name] = round(resources.get(name, 0) + sign * amount, 4)
    return dataclasses.replace(node, resources=resources)


def _fit(requests: list[Request], nodes: list[Node]) -> bool:
    return all(placement.misfit(each, nodes) is None for each in requests)


def _place(requests: list[Request], nodes: list[Node]) -> list[Node]:
    """Return the nodes with each request on the first one that has room for it."""
    for request in requests:
        index = next(at for at, node in enumerate(nodes) if not placement.misfit(request, [node]))
        taken = Holder("", nodes[index].id, request.resources)
        nodes = [*nodes[:index], _changed(nodes[index], [taken], -1), *nodes[index + 1 :]]
    return nodes
