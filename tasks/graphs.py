"""Random labelled graphs, and how they are told to a network.

Graves et al. 2016, Methods, "Graph task descriptions". N points lie in the unit
square; each is joined to its K nearest neighbours by directed edges, K drawn
for each node. Labels are numbers from 0 to 999, told as three digits, each a
one-hot of ten: 30 numbers. A triple (source, edge, destination) is 90. Edge
labels are drawn from a pool that all nodes share, and differ among the edges
that leave one node: (source, edge) names one triple, the edge alone does not.

Shapes: B graphs, N nodes at most, K edges at most that leave a node, E edges at
most.
"""

from typing import NamedTuple

import numpy as np

NUM_LABELS = 1000
DIGITS = 3
BASE = 10
LABEL_SIZE = DIGITS * BASE
TRIPLE_SIZE = 3 * LABEL_SIZE
SOURCE, EDGE, DESTINATION = 0, 1, 2

# Channels beside the triple.
PHASE_CHANNEL = TRIPLE_SIZE
ANSWER_CHANNEL = TRIPLE_SIZE + 1
INPUT_SIZE = TRIPLE_SIZE + 2


class Graphs(NamedTuple):
  """A batch of graphs whose nodes and edges have labels.

  Attributes:
    node_labels: Label of each node, in [0, 1000), -1 where a graph has no such
      node. Shape ``[B, N]``.
    neighbours: Where each edge leads, an index of a node; 0 where a node has
      no such edge. Shape ``[B, N, K]``.
    edge_labels: Label of each edge, in [0, 1000). Shape ``[B, N, K]``.
    degrees: Edges that leave each node, in [0, K]; its first ones of the K.
      Shape ``[B, N]``.
  """

  node_labels: np.ndarray  # [B, N]
  neighbours: np.ndarray  # [B, N, K]
  edge_labels: np.ndarray  # [B, N, K]
  degrees: np.ndarray  # [B, N]

  @property
  def num_edges(self) -> np.ndarray:
    """Edges of each graph. Shape ``[B]``."""
    return self.degrees.sum(axis=1)


def random_graphs(
  rng: np.random.Generator,
  nodes: np.ndarray,
  out_degree: np.ndarray,
  *,
  small_pools: bool = False,
  close_labels: bool = False,
  double_edges: float = 0.0,
) -> Graphs:
  """Draws graphs of nearest neighbours in the unit square.

  Args:
    rng: Source of all randomness, consumed.
    nodes: Least and most nodes of each graph, at least 2. Shape ``[B, 2]``.
    out_degree: Least and most edges that leave a node, at least 1. A node never
      has more than its graph has others. Shape ``[B, 2]``.
    small_pools: Draws the size of each graph's pool of edge labels too, from
      the most edges of a node to the number of nodes. False is the paper's: as
      many labels as nodes.
    close_labels: Draws the node labels of half of the graphs, and the edge
      labels of half of them, from few digits, so that many differ in one digit
      only, as in a much larger graph.
    double_edges: How likely an edge, but a node's first, leads where the one
      before it does, as two lines may between two stations; in [0, 1]. 0 is the
      paper's. A node then has fewer neighbours than edges.

  Returns:
    One graph for each row.
  """
  batch_size = len(nodes)
  num_nodes = rng.integers(nodes[:, 0], nodes[:, 1] + 1)
  most_nodes = int(nodes[:, 1].max())
  most_edges = min(int(out_degree[:, 1].max()), most_nodes - 1)
  exists = np.arange(most_nodes) < num_nodes[:, None]  # [B, N]

  degrees = rng.integers(
    out_degree[:, :1], out_degree[:, 1:] + 1, size=exists.shape
  )
  degrees = np.minimum(degrees, num_nodes[:, None] - 1) * exists
  points = rng.random((batch_size, most_nodes, 2), dtype=np.float32)
  neighbours = _nearest(points, exists, most_edges)
  if double_edges:
    another = rng.random(neighbours.shape) >= double_edges
    edge = np.maximum.accumulate(another * np.arange(most_edges), axis=-1)
    neighbours = np.take_along_axis(neighbours, edge, axis=-1)

  draw = _close_labels if close_labels else distinct_labels
  node_labels = np.where(exists, draw(rng, most_nodes, batch_size), -1)
  pool = draw(rng, most_nodes, batch_size)
  pool_size = num_nodes
  if small_pools:
    fewest = degrees.max(axis=1)
    pool_size = rng.integers(fewest, num_nodes + 1)
  chosen = _choices(rng, pool_size, exists.shape, most_edges)
  edge_labels = np.take_along_axis(
    pool, chosen.reshape(batch_size, -1), axis=1
  ).reshape(chosen.shape)
  return Graphs(node_labels, neighbours, edge_labels, degrees)


def labelled_copies(
  rng: np.random.Generator, edges: np.ndarray, batch_size: int
) -> Graphs:
  """Returns one fixed graph many times, each with random labels of its own.

  Args:
    rng: Source of all randomness, consumed.
    edges: The graph's edges, each (source, label, destination), indices from 0
      without gaps; a source has each label once at most. Shape ``[E, 3]``.
    batch_size: B, how many copies.

  Returns:
    The graphs: same nodes and edges, other labels.

  Raises:
    ValueError: The graph has more than 1,000 nodes or labels.
  """
  num_nodes = int(edges[:, [SOURCE, DESTINATION]].max()) + 1
  num_labels = int(edges[:, EDGE].max()) + 1
  if max(num_nodes, num_labels) > NUM_LABELS:
    raise ValueError(
      f"A graph may have up to {NUM_LABELS} nodes and {NUM_LABELS} edge "
      f"labels, got {num_nodes} and {num_labels}."
    )
  names = distinct_labels(rng, num_labels, batch_size)
  return labelled(edges, distinct_labels(rng, num_nodes, batch_size), names)


def labelled(
  edges: np.ndarray, node_labels: np.ndarray, edge_names: np.ndarray
) -> Graphs:
  """Returns one fixed graph under several labellings.

  Args:
    edges: As `labelled_copies` takes them. Shape ``[E, 3]``.
    node_labels: Label of each node, in [0, 1000). Shape ``[B, N]``.
    edge_names: What each edge label is called, in [0, 1000). Shape ``[B, L]``.

  Returns:
    The graphs.
  """
  batch_size, num_nodes = node_labels.shape
  degrees = np.bincount(edges[:, SOURCE], minlength=num_nodes)
  neighbours = np.zeros((num_nodes, degrees.max()), np.int64)
  labels = np.zeros_like(neighbours)
  in_order = edges[np.argsort(edges[:, SOURCE], kind="stable")]
  starts = np.cumsum(degrees) - degrees
  column = np.arange(len(edges)) - starts[in_order[:, SOURCE]]
  neighbours[in_order[:, SOURCE], column] = in_order[:, DESTINATION]
  labels[in_order[:, SOURCE], column] = in_order[:, EDGE]
  return Graphs(
    node_labels=node_labels,
    neighbours=np.broadcast_to(neighbours, (batch_size, *neighbours.shape)),
    edge_labels=edge_names[:, labels],
    degrees=np.broadcast_to(degrees, (batch_size, num_nodes)),
  )


def distinct_labels(
  rng: np.random.Generator, count: int, batch_size: int
) -> np.ndarray:
  """Draws labels for each graph, no two of a graph alike.

  Args:
    rng: Source of all randomness, consumed.
    count: Labels of each graph, at most 1,000.
    batch_size: B, number of graphs.

  Returns:
    Labels in [0, 1000). Shape ``[B, count]``.
  """
  keys = rng.random((batch_size, NUM_LABELS), dtype=np.float32)
  return _lowest(keys, count)


def _close_labels(
  rng: np.random.Generator, count: int, batch_size: int
) -> np.ndarray:
  """Draws labels as `distinct_labels` does, half of the graphs' of few digits.

  At each place of such a graph's labels a few of the ten digits are likely:
  as many as it takes for ``count`` labels, or more, by chance.
  """
  keys = rng.random((batch_size, NUM_LABELS), dtype=np.float32)
  fewest = int(np.ceil(round(count ** (1 / DIGITS), 6)))
  digits = rng.integers(min(fewest, BASE), BASE + 1, (batch_size, DIGITS, 1))
  rank = np.argsort(rng.random((batch_size, DIGITS, BASE)), axis=-1)
  unlikely = rank >= digits  # [B, DIGITS, BASE]
  unlikely &= rng.random((batch_size, 1, 1)) < 0.5
  every = np.arange(NUM_LABELS)
  for place in range(DIGITS):
    keys += unlikely[:, place, every // BASE**place % BASE]
  return _lowest(keys, count)


def _lowest(keys: np.ndarray, count: int) -> np.ndarray:
  """Returns the labels of the lowest keys, the lowest first, ``[B, count]``."""
  if count == NUM_LABELS:
    return np.argsort(keys, axis=1)
  chosen = np.argpartition(keys, count, axis=1)[:, :count]
  # A partition leaves the chosen in an order that depends on the algorithm, not
  # on chance alone.
  order = np.argsort(np.take_along_axis(keys, chosen, axis=1), axis=1)
  return np.take_along_axis(chosen, order, axis=1)


def random_walks(
  rng: np.random.Generator, graphs: Graphs, num_steps: int
) -> tuple[np.ndarray, np.ndarray]:
  """Walks each graph from a random node, along random edges.

  Args:
    rng: Source of all randomness, consumed.
    graphs: B graphs.
    num_steps: S, steps of each walk.

  Returns:
    The nodes visited, shape ``[B, S + 1]``, and which of its edges was taken
    from each, shape ``[B, S]``.
  """
  rows = np.arange(len(graphs.degrees))
  starts = graphs.degrees > 0
  order = np.argsort(np.where(starts, rng.random(starts.shape), 2.0), axis=1)
  visited = [order[:, 0]]
  taken = []
  for _ in range(num_steps):
    here = visited[-1]
    taken.append(rng.integers(0, graphs.degrees[rows, here]))
    visited.append(graphs.neighbours[rows, here, taken[-1]])
  return np.stack(visited, axis=1), np.stack(taken, axis=1)


def shuffled_triples(
  rng: np.random.Generator, graphs: Graphs
) -> tuple[np.ndarray, np.ndarray]:
  """Returns each graph's triples in random order.

  Args:
    rng: Source of all randomness, consumed.
    graphs: B graphs.

  Returns:
    Labels (source, edge, destination), shape ``[B, E, 3]``, of which each
    graph's first ``num_edges`` are its own; and ``num_edges``, shape ``[B]``.
  """
  batch_size, most_nodes, most_edges = graphs.neighbours.shape
  exists = np.arange(most_edges) < graphs.degrees[..., None]  # [B, N, K]
  keys = np.where(exists, rng.random(exists.shape, dtype=np.float32), 2)
  num_edges = graphs.num_edges
  order = np.argsort(keys.reshape(batch_size, -1), axis=1)
  order = order[:, : num_edges.max()]
  rows = np.arange(batch_size)[:, None]
  source = order // most_edges
  flat = (batch_size, most_nodes * most_edges)
  destination = graphs.neighbours.reshape(flat)[rows, order]
  triples = np.stack(
    [
      graphs.node_labels[rows, source],
      graphs.edge_labels.reshape(flat)[rows, order],
      graphs.node_labels[rows, destination],
    ],
    axis=-1,
  )
  return triples, num_edges


def one_hots(labels: np.ndarray) -> np.ndarray:
  """Returns the vectors that tell labels, three one-hot digits each.

  >>> one_hots(np.array([701, -1, 0])).reshape(3, DIGITS, BASE).argmax(-1)
  array([[7, 0, 1],
         [0, 0, 0],
         [0, 0, 0]])
  >>> one_hots(np.array([701, -1, 0])).reshape(3, LABEL_SIZE).sum(-1)
  array([3., 0., 3.], dtype=float32)

  Args:
    labels: Labels in [0, 1000), or -1 for a blank. Shape ``[..., L]``.

  Returns:
    Shape ``[..., L * 30]``, float32.
  """
  size = labels.shape[-1] * LABEL_SIZE
  return _ONE_HOTS[labels].reshape(*labels.shape[:-1], size)


def digits(labels: np.ndarray) -> np.ndarray:
  """Returns the digits of labels, zeros for a blank.

  >>> digits(np.array([701, -1]))
  array([[7, 0, 1],
         [0, 0, 0]])

  Args:
    labels: Labels in [0, 1000), or -1 for a blank. Shape ``[...]``.

  Returns:
    Shape ``[..., 3]``.
  """
  places = BASE ** np.arange(DIGITS)[::-1]
  return np.maximum(labels, 0)[..., None] // places % BASE


def read_labels(array: np.ndarray) -> np.ndarray:
  """Returns the labels that vectors tell, the likeliest digit at each place.

  The inverse of `one_hots`.

  Args:
    array: One-hots or logits, of triples with any channels behind them. Shape
      ``[..., >= 90]``.

  Returns:
    Labels in [0, 1000), or -1 where the label is blank (all zeros). Shape
    ``[..., 3]``.
  """
  parts = array[..., :TRIPLE_SIZE]
  parts = parts.reshape(*parts.shape[:-1], 3, DIGITS, BASE)
  values = parts.argmax(axis=-1)
  labels = values @ (BASE ** np.arange(DIGITS)[::-1])
  return np.where(parts.any(axis=(-1, -2)), labels, -1)


def in_words(triple: np.ndarray) -> str:
  """Returns labels such as ``(701,12,___)``."""
  return "(" + ",".join("___" if x < 0 else f"{x:03d}" for x in triple) + ")"


def _nearest(points: np.ndarray, exists: np.ndarray, most: int) -> np.ndarray:
  """Returns each node's nearest others, the nearest first, ``[B, N, most]``."""
  # Each coordinate by itself: sums over an axis of two are slow.
  x, y = points[..., 0], points[..., 1]
  distance = (x[:, :, None] - x[:, None, :]) ** 2
  distance += (y[:, :, None] - y[:, None, :]) ** 2
  # A distance within the unit square is at most 2.
  every = np.arange(points.shape[1])
  distance[:, every, every] = 3
  distance += np.where(exists, 0, 4)[:, None, :]
  return np.argsort(distance, axis=-1)[..., :most]


def _choices(
  rng: np.random.Generator,
  pool_size: np.ndarray,
  shape: tuple[int, ...],
  most: int,
) -> np.ndarray:
  """Returns distinct indices below each graph's pool size, ``[B, N, most]``.

  Where a pool is smaller than ``most``, those beyond its size are no use and
  belong to edges that do not exist.
  """
  size = max(int(pool_size.max()), most)
  keys = rng.random((*shape, size), dtype=np.float32)
  keys += np.arange(size) >= pool_size[:, None, None]  # beyond any in the pool
  chosen = np.argsort(keys, axis=-1)[..., :most]
  return np.minimum(chosen, pool_size.max() - 1)


def _all_one_hots() -> np.ndarray:
  """Returns the vector of every label, and a blank as the last, -1."""
  vectors = np.zeros((NUM_LABELS + 1, DIGITS, BASE), np.float32)
  vectors[:-1] = np.eye(BASE)[digits(np.arange(NUM_LABELS))]
  return vectors.reshape(NUM_LABELS + 1, LABEL_SIZE)


_ONE_HOTS = _all_one_hots()
