"""Questions about people, out of the graph of likenesses: clusters of the unknown, and pairs.

Memory: of the graph as a whole only numbers are held, 8 bytes an edge and an id a person; vectors are loaded for one
part of it at a time.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

import numpy as np
from django.db.models import Exists, OuterRef, QuerySet
from numpy.typing import NDArray

from inference.calibration import DECISION, Calibration
from portrait.curation.apart import apart_among
from portrait.curation.graph import Cluster, clusters
from portrait.curation.models import Kind, Likeness, State, Suggestion
from portrait.curation.people import load
from portrait.curation.proposals import Proposal
from portrait.curation.selectors import Pair, in_order
from portrait.gallery.models import Collection, Distinct, Identity, Portrait
from portrait.gallery.selectors import calibration_of

PAIRS_FROM = 0.4
"""Average similarity from which a pair is asked about."""
SAME_PICTURE = 0.999
PAIRS_EACH = 3
"""So many questions name one person: those after them are asked when these are answered."""
MOST_OPEN = 1000
"""So many questions of a kind are open in a collection, the likeliest; others follow as these are answered."""
LARGEST_PART = 3000
"""Larger parts of the graph are taken apart at their longest edges."""
READ = 2000
AT_ONCE = 100
"""So many pairs are looked up at a time: were the two ever seen together?"""


@dataclass(frozen=True, slots=True)
class Edge:
    """Two people who are alike."""

    pair: Pair
    distance: float
    nearest: float


Ends = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Graph:
    """Who is alike: of each edge both ends, as indexes of people, (n, 2); the nearest first."""

    people: list[UUID]
    ends: Ends


def edges(collection: Collection, farthest: float) -> "QuerySet[Likeness]":
    """Likenesses of people of whom suggestions are made, who may be one."""
    shown = {f"{side}__{name}": value for side in ("first", "second") for name, value in _LIVING.items()}
    return Likeness.objects.filter(
        collection=collection, model_id=collection.active_model_id, distance__lte=farthest, together=False, **shown
    )


_LIVING = {"merged_into": None, "deleted_at": None, "hidden": False}


def cluster_proposals(collection: Collection, beat: Callable[[], None]) -> Iterator[Proposal]:
    """Three or more unknown people who are probably one. beat: called after each part of the graph."""
    calibration = calibration_of(collection)
    threshold = calibration.distance(DECISION)
    for part in _parts(_unknown_graph(collection, threshold), LARGEST_PART):
        for cluster in _clusters_of(collection, part, threshold):
            if len(cluster.members) > 2:
                yield _cluster(cluster, calibration)
        beat()


def _unknown_graph(collection: Collection, threshold: float) -> Graph:
    """Who of the unknown is alike, the nearest first."""
    unknown = Identity.Kind.UNKNOWN
    rows = edges(collection, threshold).filter(first__kind=unknown, second__kind=unknown).order_by("distance", "pk")
    number: dict[UUID, int] = {}
    ends = array("i")
    for pair in rows.values_list("first_id", "second_id").iterator(READ):
        ends.extend(number.setdefault(key, len(number)) for key in pair)
    return Graph(list(number), np.frombuffer(ends, dtype=np.int32).reshape(-1, 2))


def _parts(graph: Graph, largest: int) -> Iterator[list[Pair]]:
    """What hangs together, as its edges; a part of too many people is joined by its shorter edges only."""
    for rows in _components(graph.ends, len(graph.people)):
        if len(np.unique(rows)) <= largest:
            yield [(graph.people[one], graph.people[two]) for one, two in rows.tolist()]
        else:
            yield from _parts(Graph(graph.people, rows[: len(rows) * 3 // 4]), largest)


def _components(ends: Ends, people: int) -> Iterator[Ends]:
    """The edges of each, in their order."""
    parent = list(range(people))

    def root(key: int) -> int:
        while (above := parent[key]) != key:
            parent[key] = key = parent[above]
        return key

    for start in range(0, len(ends), READ):
        for one, two in ends[start : start + READ].tolist():
            parent[root(one)] = root(two)
    roots = np.fromiter((root(key) for key in range(people)), dtype=np.int32, count=people)[ends[:, 0]]
    order = np.argsort(roots, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(roots[order])) + 1):
        if len(part):
            yield ends[part]


def _clusters_of(collection: Collection, part: list[Pair], threshold: float) -> list[Cluster[UUID]]:
    """Of a cluster that somebody refused no two are put together again: they are asked about two by two, or each with
    others, because a smaller one of the same people may have the same stranger in it."""
    members = {key for pair in part for key in pair}
    if len(members) < 3:
        return []
    never = [frozenset(pair) for pair in apart_among(members)]
    refused = Suggestion.objects.filter(
        collection=collection, kind=Kind.CLUSTER, state=State.REJECTED, identities__overlap=list(members)
    )
    never += [frozenset(people) for people in refused.values_list("identities", flat=True)]
    faces = {key: person.faces for key, person in load(collection, members).items()}
    return clusters(faces, part, threshold=threshold, never=never)


def _cluster(cluster: Cluster[UUID], calibration: Calibration) -> Proposal:
    similarity = round(calibration.similarity(cluster.distance), 4)
    details = {"reason": "cluster", "similarity": similarity, "distance": round(cluster.distance, 4)}
    return Proposal(Kind.CLUSTER, tuple(sorted(cluster.members)), similarity, details=details)


def pair_proposals(collection: Collection, grouped: Iterable[Proposal]) -> list[Proposal]:
    """Pairs of people who may be one, the likeliest first. Who stands in a cluster is asked about there: of its members
    only those with a known person are pairs as well, the others once it is answered."""
    calibration = calibration_of(collection)
    clustered = {key for each in grouped for key in each.identities}
    named, found = Counter[UUID](), list[Edge]()
    asked = (
        edge
        for edge, unknown in _pair_edges(collection, calibration.distance(PAIRS_FROM))
        if not unknown or clustered.isdisjoint(edge.pair)
    )
    while len(found) < MOST_OPEN and (some := list(islice(asked, AT_ONCE))):
        for edge in _may_be_one([edge for edge in some if _is_free(edge, named)]):
            if _is_free(edge, named) and len(found) < MOST_OPEN:
                named.update(edge.pair)
                found.append(edge)
    return [_pair(edge, calibration, same) for edge, same in _with_same_pictures(found)]


def _is_free(edge: Edge, named: Counter[UUID]) -> bool:
    """Whether neither of the two is asked about often enough."""
    return max(named[key] for key in edge.pair) < PAIRS_EACH


def _pair_edges(collection: Collection, farthest: float) -> Iterator[tuple[Edge, bool]]:
    """The nearest first, and whether both are unknown; without those that somebody refused."""
    refused = Distinct.objects.filter(first=OuterRef("first"), second=OuterRef("second"))
    rows = edges(collection, farthest).exclude(Exists(refused)).order_by("distance", "pk")
    columns = ("first_id", "second_id", "distance", "nearest", "first__kind", "second__kind")
    for one, two, distance, nearest, *kinds in rows.values_list(*columns).iterator(READ):
        yield Edge((one, two), distance, nearest), set(kinds) == {Identity.Kind.UNKNOWN}


def _may_be_one(found: list[Edge]) -> list[Edge]:
    apart = apart_among({key for edge in found for key in edge.pair})
    return [edge for edge in found if edge.pair not in apart]


def _with_same_pictures(found: list[Edge]) -> Iterator[tuple[Edge, bool]]:
    """Each pair, and whether the very same picture shows both: two faces of one picture do not look the same."""
    for edge in found:
        yield edge, edge.nearest < 1e-3 and _share_a_picture(edge.pair)


def _share_a_picture(pair: Pair) -> bool:
    mine = Portrait.objects.filter(identity=pair[0], deleted_at=None, sha256=OuterRef("sha256"))
    return Portrait.objects.filter(Exists(mine), identity=pair[1], deleted_at=None).exists()


def _pair(edge: Edge, calibration: Calibration, same_picture: bool) -> Proposal:
    similarity = round(calibration.similarity(edge.distance), 4)
    return Proposal(
        Kind.DUPLICATE if same_picture else Kind.SAME_PERSON,
        in_order(*edge.pair),
        SAME_PICTURE if same_picture else similarity,
        details={
            "reason": "same_picture" if same_picture else "alike",
            "similarity": similarity,
            "distance": round(edge.distance, 4),
            "nearest": round(edge.nearest, 4),
        },
    )
