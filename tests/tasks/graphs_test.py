"""Tests of random graphs and of how they are told."""

from unittest import mock

import hypothesis
import hypothesis.extra.numpy as st_numpy
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from tasks import graphs, underground

HYPOTHESIS = hypothesis.settings(
  max_examples=50, deadline=None, derandomize=True, database=None
)
# Batch, least and most nodes, least and most edges that leave a node.
CASES = (
  ("smallest", 50, (2, 2), (1, 1)),
  ("small", 50, (3, 10), (2, 4)),
  ("more_edges_than_nodes", 50, (2, 5), (3, 8)),
  ("all_edges", 20, (6, 6), (5, 5)),
  ("large", 40, (30, 40), (2, 6)),
)


def random_graphs(batch_size, nodes, out_degree, seed=0, **options):
  return graphs.random_graphs(
    np.random.default_rng(seed),
    np.tile(nodes, (batch_size, 1)),
    np.tile(out_degree, (batch_size, 1)),
    **options,
  )


def triples(drawn, row):
  """Returns the triples of a graph by loops over its nodes and edges."""
  found = []
  for node, degree in enumerate(drawn.degrees[row]):
    for edge in range(degree):
      end = drawn.neighbours[row, node, edge]
      found.append(
        (
          int(drawn.node_labels[row, node]),
          int(drawn.edge_labels[row, node, edge]),
          int(drawn.node_labels[row, end]),
        )
      )
  return found


class RandomGraphsTest(parameterized.TestCase):
  @parameterized.named_parameters(*CASES)
  def test_edges_lead_to_the_nearest_others(self, size, nodes, out_degree):
    with mock.patch.object(graphs, "_nearest", wraps=graphs._nearest) as spy:
      drawn = random_graphs(size, nodes, out_degree)
    points = spy.call_args.args[0].astype(np.float64)
    self.assertTrue(((points >= 0) & (points < 1)).all())
    for row in range(size):
      num_nodes = int((drawn.node_labels[row] >= 0).sum())
      for node in range(num_nodes):
        distance = {
          other: np.hypot(*(points[row, other] - points[row, node]))
          for other in range(num_nodes)
          if other != node
        }
        degree = drawn.degrees[row, node]
        ends = drawn.neighbours[row, node, :degree].tolist()
        self.assertLen(set(ends), degree)
        self.assertContainsSubset(ends, distance)
        # Distances and not nodes: two may be as far as float32 can tell.
        np.testing.assert_allclose(
          [distance[end] for end in ends],
          sorted(distance.values())[:degree],
          rtol=1e-4,
          atol=1e-7,
        )

  @parameterized.named_parameters(*CASES)
  def test_sizes_are_in_range(self, size, nodes, out_degree):
    drawn = random_graphs(size, nodes, out_degree)
    exists = drawn.node_labels >= 0
    num_nodes = exists.sum(axis=1)
    self.assertEqual((num_nodes.min(), num_nodes.max()), nodes)
    # A graph's nodes come first.
    np.testing.assert_array_equal(
      exists, np.arange(exists.shape[1]) < num_nodes[:, None]
    )
    self.assertFalse(drawn.degrees[~exists].any())
    for row in range(size):
      most = num_nodes[row] - 1
      degrees = drawn.degrees[row, : num_nodes[row]]
      self.assertGreaterEqual(degrees.min(), min(out_degree[0], most))
      self.assertLessEqual(degrees.max(), min(out_degree[1], most))
    self.assertEqual(
      drawn.degrees[exists].max(), min(out_degree[1], nodes[1] - 1)
    )
    np.testing.assert_array_equal(
      drawn.num_edges, [len(triples(drawn, row)) for row in range(size)]
    )

  def test_ranges_are_of_each_graph(self):
    drawn = graphs.random_graphs(
      np.random.default_rng(0),
      np.array([[3, 3], [7, 7], [5, 5]]),
      np.array([[2, 2], [1, 1], [4, 4]]),
    )
    self.assertEqual((drawn.node_labels >= 0).sum(axis=1).tolist(), [3, 7, 5])
    self.assertEqual(drawn.num_edges.tolist(), [6, 7, 20])

  @parameterized.product(
    [{"case": case[1:]} for case in CASES],
    options=[
      {},
      {"small_pools": True},
      {"small_pools": True, "close_labels": True},
    ],
  )
  def test_labels_are_distinct_where_they_must_be(self, case, options):
    size, nodes, out_degree = case
    drawn = random_graphs(size, nodes, out_degree, **options)
    for row in range(size):
      labels = drawn.node_labels[row][drawn.node_labels[row] >= 0]
      self.assertLen(set(labels.tolist()), len(labels))
      self.assertTrue((labels < 1000).all())
      told = triples(drawn, row)
      self.assertLen({(source, edge) for source, edge, _ in told}, len(told))
      pool = {edge for _, edge, _ in told}
      self.assertLessEqual(len(pool), len(labels))
      self.assertBetween(min(pool), 0, 999)
      self.assertBetween(max(pool), 0, 999)

  def test_edge_labels_are_shared_by_nodes(self):
    # 40 labels in all, for 6 edges of each of 40 nodes.
    drawn = random_graphs(10, (40, 40), (6, 6))
    for row in range(10):
      _, counts = np.unique(drawn.edge_labels[row], return_counts=True)
      self.assertLen(counts, 40)
      self.assertEqual(counts.sum(), 240)
      self.assertGreater(counts.max(), counts.min())

  def test_every_label_is_drawn_and_in_any_order(self):
    drawn = random_graphs(800, (20, 20), (2, 2))
    for labels in (drawn.node_labels, drawn.edge_labels):
      self.assertEqual(set(labels.ravel().tolist()), set(range(1000)))
    for place in range(20):
      self.assertBetween(drawn.node_labels[:, place].mean(), 450, 550)

  def test_double_edges_lead_where_the_one_before_does(self):
    plain = random_graphs(100, (20, 20), (3, 5))
    self.assertTrue((np.diff(np.sort(plain.neighbours, axis=-1)) > 0).all())
    drawn = random_graphs(100, (20, 20), (3, 5), double_edges=0.25)
    np.testing.assert_array_equal(
      drawn.neighbours[..., 0], plain.neighbours[..., 0]
    )
    same = np.diff(drawn.neighbours, axis=-1) == 0
    self.assertBetween(same.mean(), 0.23, 0.27)
    for now, before in zip(drawn.neighbours, plain.neighbours, strict=True):
      for leads, nearest in zip(now, before, strict=True):
        self.assertContainsSubset(leads, nearest)
    for row in range(100):
      told = triples(drawn, row)
      self.assertLen({(source, edge) for source, edge, _ in told}, len(told))
    all_one = random_graphs(3, (9, 9), (4, 4), double_edges=1.0)
    self.assertFalse(np.diff(all_one.neighbours, axis=-1).any())

  def test_small_pools_are_of_every_size(self):
    drawn = random_graphs(400, (8, 8), (3, 3), small_pools=True)
    sizes = [
      len({edge for _, edge, _ in triples(drawn, b)}) for b in range(400)
    ]
    self.assertEqual(set(sizes), {3, 4, 5, 6, 7, 8})
    counts = np.bincount(sizes)[3:]
    # Uniform: about 67 of each.
    self.assertTrue(((counts > 40) & (counts < 100)).all(), counts)
    drawn = random_graphs(50, (8, 8), (7, 7))
    for row in range(50):
      self.assertLen({edge for _, edge, _ in triples(drawn, row)}, 8)

  def test_close_labels_are_of_few_digits_in_half_of_the_graphs(self):
    plain = random_graphs(400, (27, 27), (2, 2))
    drawn = random_graphs(400, (27, 27), (2, 2), close_labels=True)
    few = []
    for labels in (plain, drawn):
      for of in (labels.node_labels, labels.edge_labels.reshape(400, -1)):
        digits = [
          [len(np.unique(row // 10**place % 10)) for place in range(3)]
          for row in of
        ]
        few.append(np.min(digits, axis=1) < 7)
        # What few digits there are, are each graph's own.
        self.assertGreater(len(np.unique(of)), 980)
    # 27 labels or more need 3 digits at each place; of 3 to 10 at each of
    # three places, the least is below 7 in 7 of 8 graphs.
    for none in few[:2]:
      self.assertLess(none.mean(), 0.01)
    for half in few[2:]:
      self.assertBetween(half.mean(), 0.37, 0.53)
    both = few[2] & few[3]
    self.assertBetween(both.mean(), 0.12, 0.27)


class WalksTest(parameterized.TestCase):
  @parameterized.named_parameters(*CASES)
  def test_walks_follow_edges(self, size, nodes, out_degree):
    drawn = random_graphs(size, nodes, out_degree)
    visited, taken = graphs.random_walks(np.random.default_rng(1), drawn, 12)
    self.assertEqual(visited.shape, (size, 13))
    self.assertEqual(taken.shape, (size, 12))
    for row in range(size):
      for step in range(12):
        here, edge = visited[row, step], taken[row, step]
        self.assertBetween(edge, 0, drawn.degrees[row, here] - 1)
        self.assertEqual(
          visited[row, step + 1], drawn.neighbours[row, here, edge]
        )

  def test_starts_and_edges_are_drawn_equally(self):
    drawn = random_graphs(1, (4, 4), (3, 3))
    many = graphs.Graphs(*(np.repeat(array, 3000, axis=0) for array in drawn))
    visited, taken = graphs.random_walks(np.random.default_rng(0), many, 3)
    np.testing.assert_allclose(np.bincount(visited[:, 0]), 750, rtol=0.15)
    for step in range(3):
      np.testing.assert_allclose(np.bincount(taken[:, step]), 1000, rtol=0.15)

  def test_no_walk_starts_where_no_edge_leaves(self):
    drawn = graphs.Graphs(
      node_labels=np.array([[5, 6, -1]]),
      neighbours=np.array([[[0], [1], [0]]]),
      edge_labels=np.array([[[7], [8], [0]]]),
      degrees=np.array([[0, 1, 0]]),
    )
    for seed in range(20):
      rng = np.random.default_rng(seed)
      visited, _ = graphs.random_walks(rng, drawn, 2)
      self.assertEqual(visited.tolist(), [[1, 1, 1]])


class ShuffledTriplesTest(parameterized.TestCase):
  @parameterized.named_parameters(*CASES)
  def test_every_edge_is_told_once(self, size, nodes, out_degree):
    drawn = random_graphs(size, nodes, out_degree)
    told, num_edges = graphs.shuffled_triples(np.random.default_rng(1), drawn)
    self.assertEqual(told.shape, (size, num_edges.max(), 3))
    for row in range(size):
      own = told[row, : num_edges[row]]
      self.assertCountEqual(map(tuple, own.tolist()), triples(drawn, row))

  def test_any_triple_may_be_first(self):
    drawn = random_graphs(1, (3, 3), (2, 2))
    many = graphs.Graphs(*(np.repeat(array, 3000, axis=0) for array in drawn))
    told, _ = graphs.shuffled_triples(np.random.default_rng(0), many)
    for place in range(6):
      kinds, counts = np.unique(told[:, place], axis=0, return_counts=True)
      self.assertLen(kinds, 6)
      np.testing.assert_allclose(counts, 500, rtol=0.2)


class LabelledCopiesTest(parameterized.TestCase):
  @parameterized.parameters(*underground.MAPS)
  def test_copies_keep_the_structure(self, name):
    edges = underground.load(name).edges
    drawn = graphs.labelled_copies(np.random.default_rng(0), edges, 3)
    for row in range(3):
      node = {int(x): i for i, x in enumerate(drawn.node_labels[row])}
      self.assertLen(node, len(underground.load(name).nodes))
      names: dict[int, int] = {}
      # Both are in order of the source.
      for ours, theirs in zip(triples(drawn, row), edges, strict=True):
        self.assertEqual(node[ours[0]], theirs[0])
        self.assertEqual(node[ours[2]], theirs[2])
        self.assertEqual(names.setdefault(int(theirs[1]), ours[1]), ours[1])
      self.assertLen(set(names.values()), len(names))
      self.assertBetween(min(names.values()), 0, 999)
      self.assertBetween(max(names.values()), 0, 999)
    for labels in (drawn.node_labels, drawn.edge_labels):
      self.assertLen(np.unique(labels.reshape(3, -1), axis=0), 3)

  def test_edges_in_any_order(self):
    # 0 -5-> 2, 2 -0-> 0, 0 -1-> 1; nothing leaves node 1.
    edges = np.array([[0, 5, 2], [2, 0, 0], [0, 1, 1]])
    drawn = graphs.labelled_copies(np.random.default_rng(0), edges, 1)
    self.assertEqual(drawn.degrees.tolist(), [[2, 0, 1]])
    self.assertEqual(drawn.neighbours[0, 0].tolist(), [2, 1])
    self.assertEqual(drawn.neighbours[0, 2, 0], 0)
    labels = drawn.edge_labels[0]
    self.assertLen({labels[0, 0], labels[0, 1], labels[2, 0]}, 3)

  def test_as_many_labels_as_there_are(self):
    ring = np.stack(
      [np.arange(1000), np.arange(1000), (np.arange(1000) + 1) % 1000], axis=1
    )
    drawn = graphs.labelled_copies(np.random.default_rng(0), ring, 2)
    for labels in (drawn.node_labels, drawn.edge_labels[..., 0]):
      np.testing.assert_array_equal(
        np.sort(labels), np.tile(np.arange(1000), (2, 1))
      )

  @parameterized.named_parameters(
    ("nodes", [[0, 0, 1000]], "got 1001 and 1"),
    ("labels", [[0, 1000, 1]], "got 2 and 1001"),
  )
  def test_more_than_there_are_labels_for(self, edges, message):
    with self.assertRaisesRegex(ValueError, message):
      graphs.labelled_copies(np.random.default_rng(0), np.array(edges), 1)


class LabelsTest(parameterized.TestCase):
  def test_drawn_by_hand(self):
    vector = graphs.one_hots(np.array([701, -1, 90])).reshape(9, 10)
    expected = np.zeros((9, 10))
    expected[0, 7] = expected[1, 0] = expected[2, 1] = 1
    expected[6, 0] = expected[7, 9] = expected[8, 0] = 1
    np.testing.assert_array_equal(vector, expected)

  def test_every_label(self):
    labels = np.arange(-1, 1000)
    self.assertLen(np.unique(graphs.one_hots(labels[:, None]), axis=0), 1001)

  @HYPOTHESIS
  @hypothesis.given(
    st_numpy.arrays(
      np.int64,
      st.tuples(st.integers(0, 4), st.integers(1, 4), st.just(3)),
      elements=st.integers(-1, 999),
    )
  )
  def test_labels_come_back(self, labels):
    vectors = graphs.one_hots(labels)
    self.assertEqual(vectors.shape, (*labels.shape[:-1], 90))
    np.testing.assert_array_equal(graphs.read_labels(vectors), labels)
    # Channels behind the triple are not read.
    more = np.concatenate([vectors, np.ones((*labels.shape[:-1], 2))], axis=-1)
    np.testing.assert_array_equal(graphs.read_labels(more), labels)

  def test_logits_are_read_by_their_highest(self):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, (20, 3))
    logits = graphs.one_hots(labels) - rng.random((20, 90)) * 0.99 - 5
    np.testing.assert_array_equal(graphs.read_labels(logits), labels)


if __name__ == "__main__":
  absltest.main()
