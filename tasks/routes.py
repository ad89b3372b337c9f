"""Shortest paths on graphs: the truth that networks are trained and told by.

Two algorithms that share nothing compute the same distances, and the tests
compare them: breadth first from every node, and powers of the matrix of steps
where products are sums and sums are minima.

Shapes: B graphs, N nodes at most, K edges at most that leave a node.
"""

import numpy as np

from tasks.graphs import Graphs

# Steps to where no path leads. More than any path can have.
UNREACHABLE = 10_000


def _steps_matrix(graphs: Graphs) -> np.ndarray:
  """Returns the steps from each node to each in one move at most.

  Args:
    graphs: B graphs.

  Returns:
    0 from a node to itself, 1 along an edge, otherwise `UNREACHABLE`. Shape
    ``[B, N, N]``, int32.
  """
  batch_size, num_nodes, most_edges = graphs.neighbours.shape
  steps = np.full((batch_size, num_nodes, num_nodes), UNREACHABLE, np.int32)
  exists = np.arange(most_edges) < graphs.degrees[..., None]
  row, source, edge = np.nonzero(exists)
  steps[row, source, graphs.neighbours[row, source, edge]] = 1
  every = np.arange(num_nodes)
  steps[:, every, every] = 0
  return steps


def distances(graphs: Graphs) -> np.ndarray:
  """Returns the length of the shortest path between any two nodes.

  Breadth first, from all nodes of all graphs at once.

  Args:
    graphs: B graphs.

  Returns:
    Steps from the node of the row to that of the column, `UNREACHABLE` where
    there is no path. Shape ``[B, N, N]``, int32.
  """
  adjacent = (_steps_matrix(graphs) == 1).astype(np.float32)
  found = np.full(adjacent.shape, UNREACHABLE, np.int32)
  every = np.arange(adjacent.shape[1])
  found[:, every, every] = 0
  front = np.broadcast_to(np.eye(len(every), dtype=np.float32), adjacent.shape)
  for step in range(1, len(every)):
    front = (front @ adjacent > 0) & (found == UNREACHABLE)
    if not front.any():
      break
    found[front] = step
    front = front.astype(np.float32)
  return found


def min_plus_distances(graphs: Graphs) -> np.ndarray:
  """Returns what `distances` does, by repeated squaring, min-plus.

      D ← minₖ D[i, k] + D[k, j],  ⌈log₂ N⌉ times

  Args:
    graphs: B graphs.

  Returns:
    As `distances`.
  """
  found = _steps_matrix(graphs)
  for _ in range(int(np.ceil(np.log2(max(found.shape[1], 2))))):
    through = [
      (found[:, :, None, node] + found[:, None, node, :])
      for node in range(found.shape[1])
    ]
    found = np.minimum.reduce([found, *through])
  return np.minimum(found, UNREACHABLE)


def random_pairs(
  rng: np.random.Generator, distances: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
  """Draws for each graph two nodes so many steps apart.

  A length is drawn first, uniformly among those that the graph has, then a pair
  among those of that length.

  Args:
    rng: Source of all randomness, consumed.
    distances: As the function `distances` gives them. Shape ``[B, N, N]``.
    lengths: Least and most steps apart. Shape ``[B, 2]``.

  Returns:
    Source and destination of each graph, -1 where it has no such pair. Shape
    ``[B, 2]``.
  """
  batch_size, num_nodes, _ = distances.shape
  flat = distances.reshape(batch_size, -1)
  longest = int(lengths[:, 1].max())
  every = np.arange(longest + 1)
  has = [(flat == length).any(axis=1) for length in every]
  has = np.stack(has, axis=1)  # [B, longest + 1]
  has &= (every >= lengths[:, :1]) & (every <= lengths[:, 1:])
  chosen = np.argmax(np.where(has, rng.random(has.shape), -1), axis=1)
  fits = flat == chosen[:, None]
  pair = np.argmax(np.where(fits, rng.random(fits.shape), -1), axis=1)
  pairs = np.stack(np.divmod(pair, num_nodes), axis=-1)
  return np.where(has.any(axis=1, keepdims=True), pairs, -1)


def chance(graphs: Graphs) -> np.ndarray:
  """Returns how likely random moves are to make a shortest path.

  Every edge that leaves a node is as likely as the others.

  Args:
    graphs: B graphs.

  Returns:
    From the node of the row to that of the column, in [0, 1]; 0 where there is
    no path, 1 from a node to itself. Shape ``[B, N, N]``.
  """
  between = distances(graphs)
  rows = np.arange(len(between))[:, None, None]
  exists = np.arange(graphs.neighbours.shape[-1]) < graphs.degrees[..., None]
  onward = between[rows, graphs.neighbours]  # [B, N, K, N]
  best = exists[..., None] & (onward == between[:, :, None] - 1)
  found = (between == 0).astype(float)
  degrees = np.maximum(graphs.degrees, 1)[..., None]
  for step in range(1, between.shape[1]):
    through = np.where(best, found[rows, graphs.neighbours], 0).sum(axis=2)
    found = np.where(between == step, through / degrees, found)
    if not (between == step).any():
      break
  return found
