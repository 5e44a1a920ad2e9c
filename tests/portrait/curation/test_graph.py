"""Clusters on a graph: against all pairs computed plainly, and with people who must stay apart."""

import uuid
from itertools import combinations, pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait.curation.graph import Faces, clusters
from portrait.curation.grouping import Graph, _parts

PEOPLE = 4


def crowd(seed: int, pieces: int = 5) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Pieces of a few faces each of some people far apart; and who each is."""
    rng = np.random.default_rng(seed)
    centres = 3 * np.eye(8)[:PEOPLE]
    vectors, truth = {}, {}
    for who in range(PEOPLE):
        for piece in range(pieces):
            key = f"{who}.{piece}"
            faces = centres[who] + 0.1 * rng.normal(size=(int(rng.integers(1, 5)), 8))
            vectors[key], truth[key] = faces.astype(np.float32), who
    return vectors, truth


def all_pairs(keys: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    return list(combinations(keys, 2))


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_the_distance_of_many_faces_is_the_one_over_all_pairs_of_faces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two, three = (rng.normal(size=(int(rng.integers(1, 6)), 16)).astype(np.float32) for _ in range(3))
    both = np.concatenate([one, two])
    plain = np.sqrt((np.linalg.norm(both[:, None] - three[None], axis=2) ** 2).mean())
    joined = Faces.of(one).joined(Faces.of(two))
    assert joined.distance(Faces.of(three)) == pytest.approx(plain, rel=1e-6)
    assert joined.count == len(both)
    assert joined.spread == pytest.approx(Faces.of(both).spread, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_each_person_becomes_one_cluster_whatever_order_the_edges_come_in(seed: int) -> None:
    vectors, truth = crowd(seed)
    faces = {key: Faces.of(rows) for key, rows in vectors.items()}
    edges = all_pairs(vectors)
    found = clusters(faces, edges, threshold=1.0)
    assert sorted(len(cluster.members) for cluster in found) == [5] * PEOPLE
    assert all(len({truth[key] for key in cluster.members}) == 1 for cluster in found)
    np.random.default_rng(seed).shuffle(edges)
    assert clusters(faces, [(two, one) for one, two in edges], threshold=1.0) == found


def test_a_chain_of_neighbours_is_not_one_person() -> None:
    """Each is near the next, the ends are far apart: connected components would make one of it."""
    faces = {f"{index:02d}": Faces.of(np.array([[0.4 * index, 0]], dtype=np.float32)) for index in range(12)}
    keys = list(faces)
    found = clusters(faces, list(pairwise(keys)), threshold=0.58)
    assert len(found) > 3
    assert max(len(cluster.members) for cluster in found) <= 3


def test_those_who_must_stay_apart_never_meet_in_a_cluster() -> None:
    vectors, _ = crowd(3)
    faces = {key: Faces.of(rows) for key, rows in vectors.items()}
    never = [frozenset({"0.0", "0.1"}), frozenset({"1.0", "1.1", "1.2"})]
    found = clusters(faces, all_pairs(vectors), threshold=1.0, never=never)
    members = [set(cluster.members) for cluster in found]
    assert not any(len(people & group) > 1 for people in never for group in members)
    of_first = [group for group in members if group & {"0.0", "0.1", "0.2", "0.3", "0.4"}]
    assert set().union(*of_first) >= {"0.2", "0.3", "0.4"}, "the others are put together all the same"
    assert [group for group in members if group >= {"1.3", "1.4"}], "so are those whom nobody refused"


def test_who_is_far_from_everybody_is_in_no_cluster() -> None:
    faces = {key: Faces.of(np.array([[place]], dtype=np.float32)) for key, place in (("a", 0), ("b", 0.1), ("c", 5))}
    (found,) = clusters(faces, [("a", "b"), ("b", "c")], threshold=0.5)
    assert found.members == ("a", "b")
    assert found.distance == pytest.approx(0.1, abs=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_what_hangs_together_is_one_part_unless_it_is_too_large(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = [uuid.UUID(int=index + 1) for index in range(30)]
    drawn = rng.permutation(list(combinations(range(30), 2)))[:25]
    ends = np.asarray(drawn, dtype=np.int32)
    graph = nx.Graph([(people[one], people[two]) for one, two in ends.tolist()])
    parts = list(_parts(Graph(people, ends), 30))
    assert {frozenset(key for pair in part for key in pair) for part in parts} == {
        frozenset(each) for each in nx.connected_components(graph)
    }
    assert sum(len(part) for part in parts) == len(ends)
    order = {pair: index for index, pair in enumerate((people[one], people[two]) for one, two in ends.tolist())}
    assert all(order[one] <= order[two] for part in parts for one, two in pairwise(part)), "the nearest first"
    small = list(_parts(Graph(people, ends), 5))
    assert all(len({key for pair in part for key in pair}) <= 5 for part in small)
