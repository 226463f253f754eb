"""The graph of a definition's nodes: an order to go through it, and its cycles."""

from collections import deque
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

Sources = Mapping[str, Sequence[str]]
"""The nodes that each node waits for; every one of them is a key."""


def targets_of(sources: Sources) -> dict[str, list[str]]:
    """The nodes that wait for each node."""
    targets: dict[str, list[str]] = {name: [] for name in sources}
    for name, waits_for in sources.items():
        for source in waits_for:
            targets[source].append(name)
    return targets


def order(sources: Sources) -> list[str]:
    """The nodes after everything they wait for, else in the order written (Kahn's algorithm).

    Those on a cycle, or after one, are left out.
    """
    targets = targets_of(sources)
    rank = {name: position for position, name in enumerate(sources)}
    names = list(sources)
    missing = {name: len(waits_for) for name, waits_for in sources.items()}
    ready = [rank[name] for name, count in missing.items() if not count]
    heapify(ready)
    done = []
    while ready:
        name = names[heappop(ready)]
        done.append(name)
        for target in targets[name]:
            missing[target] -= 1
            if not missing[target]:
                heappush(ready, rank[target])
    return done


def cycle(sources: Sources, knot: Sequence[str]) -> list[str]:
    """The shortest cycle through the first node of a knot, in the order of running.

    `["a", "b"]` says that b waits for a, and a for b.
    """
    members = set(knot)
    first = next(name for name in sources if name in members)
    before: dict[str, str] = {}
    queue = deque([first])
    while first not in before:
        name = queue.popleft()
        for source in sources[name]:
            if source in members and source not in before:
                before[source] = name
                queue.append(source)
    path = [first]
    while (following := before[path[-1]]) != first:
        path.append(following)
    return path


def knots(sources: Sources) -> list[list[str]]:
    """The groups of nodes that wait for each other, one node waiting for itself included.

    They are the strongly connected components, found by Kosaraju's algorithm.
    """
    seen: set[str] = set()
    targets = targets_of(sources)
    roots = reversed(_by_finish(sources))
    found = [_reached(targets, root, seen) for root in roots if root not in seen]
    return [knot for knot in found if len(knot) > 1 or knot[0] in sources[knot[0]]]


def _by_finish(sources: Sources) -> list[str]:
    """The nodes in the order in which a depth-first search leaves them."""
    done: list[str] = []
    seen: set[str] = set()
    for root in sources:
        stack = [] if root in seen else [(root, iter(sources[root]))]
        seen.add(root)
        while stack:
            name, rest = stack[-1]
            following = next((each for each in rest if each not in seen), None)
            if following is None:
                done.append(name)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(sources[following])))
    return done


def _reached(targets: Mapping[str, Sequence[str]], root: str, seen: set[str]) -> list[str]:
    found, stack = [], [root]
    seen.add(root)
    while stack:
        name = stack.pop()
        found.append(name)
        for target in targets[name]:
            if target not in seen:
                seen.add(target)
                stack.append(target)
    return found
