"""Questions of inference, and the graphs that can answer them.

What is asked is drawn first, relation by relation alike, and the graph's labels
after it, so that the graph has the edges asked for. Otherwise few small graphs
would have a relation of five edges, and long relations would hardly be asked
for.

Shapes: B graphs, N nodes at most, K edges at most that leave a node, Q queries.
"""

import numpy as np

from tasks import graphs, relations

# How often a question is drawn again that the graph has no room for.
_ATTEMPTS = 8


def ask(
  rng: np.random.Generator,
  drawn: graphs.Graphs,
  table: np.ndarray,
  lengths: np.ndarray,
  counts: np.ndarray,
  num_queries: int,
) -> tuple[graphs.Graphs, np.ndarray, np.ndarray]:
  """Draws questions, and gives the graphs edge labels that answer them.

  Args:
    rng: Source of all randomness, consumed.
    drawn: Graphs, whose edge labels are not used.
    table: As `relations.table` gives it.
    lengths: Least and most edges of a relation. Shape ``[B, 2]``.
    counts: Relations of each length. Shape ``[B]``.
    num_queries: Q.

  Returns:
    The graphs with labels from 0 to 9; the questions, ``[B, Q, 3]``; and the
    triples along the way of each, -1 beyond its end, ``[B, Q, 5, 3]``.
  """
  batch_size = len(counts)
  planted = np.full(drawn.neighbours.shape, -1)
  queries = np.zeros((batch_size, num_queries, 3), np.int64)
  ways = np.full((batch_size, num_queries, relations.LONGEST, 3), -1)
  for query in range(num_queries):
    left = np.arange(batch_size)
    attempt = 0
    while len(left):
      relation = _draw_relations(rng, lengths[left], counts[left])
      sequence = table[relation]
      trial = planted[left]
      nodes = _plant(rng, drawn, left, trial, sequence)
      done = nodes[:, -1] >= 0
      rows = left[done]
      planted[rows] = trial[done]
      names = drawn.node_labels[rows[:, None], nodes[done]]  # [R, 6]
      queries[rows, query] = np.stack(
        [names[:, 0], relation[done], names[:, -1]], axis=-1
      )
      way = np.stack([names[:, :-1], sequence[done], names[:, 1:]], axis=-1)
      ways[rows, query] = np.where(sequence[done, :, None] >= 0, way, -1)
      left = left[~done]
      attempt += 1
      if query and attempt == _ATTEMPTS:
        queries[left, query] = queries[left, 0]  # No room for another.
        ways[left, query] = ways[left, 0]
        break
  return drawn._replace(edge_labels=_fill(rng, planted)), queries, ways


def _draw_relations(
  rng: np.random.Generator, lengths: np.ndarray, counts: np.ndarray
) -> np.ndarray:
  """Draws a length, then a relation of that length, for each row, ``[B]``."""
  drawn = rng.integers(lengths[:, 0], lengths[:, 1] + 1)
  single = drawn == 1
  most = np.where(single, np.minimum(counts, relations.NUM_EDGE_LABELS), counts)
  first = np.array([0, *map(relations.first_label, range(1, 6))])
  return first[drawn] + rng.integers(0, most)


def _plant(
  rng: np.random.Generator,
  drawn: graphs.Graphs,
  rows: np.ndarray,
  labels: np.ndarray,
  sequences: np.ndarray,
) -> np.ndarray:
  """Walks along sequences of labels, labelling edges where need be.

  Args:
    rng: Source of all randomness, consumed.
    drawn: B graphs.
    rows: Which of them to walk. Shape ``[R]``.
    labels: Labels of their edges, -1 for one that has none yet; changed.
      Shape ``[R, N, K]``.
    sequences: Labels to follow, -1 beyond the end. Shape ``[R, 5]``.

  Returns:
    The nodes visited, which stay the same beyond a sequence's end; the last
    is -1 where a node had no edge left to label. Shape ``[R, 6]``.
  """
  every = np.arange(len(rows))
  starts = drawn.degrees[rows] > 0
  here = np.where(starts, rng.random(starts.shape), -1.0).argmax(axis=1)
  visited, stuck = [here], np.zeros(len(rows), bool)
  for label in sequences.T:
    mine = labels[every, here]  # [R, K]
    exists = np.arange(mine.shape[1]) < drawn.degrees[rows, here][:, None]
    wish = rng.random(mine.shape) * (exists & (mine < 0))
    wish[mine == label[:, None]] = 2
    edge = wish.argmax(axis=1)
    going = (label >= 0) & ~stuck
    possible = wish[every, edge] > 0
    stuck |= going & ~possible
    going &= possible
    labels[every[going], here[going], edge[going]] = label[going]
    here = np.where(going, drawn.neighbours[rows, here, edge], here)
    visited.append(here)
  visited[-1] = np.where(stuck, -1, here)
  return np.stack(visited, axis=1)


def _fill(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
  """Returns labels with those that are -1 drawn anew, unique for each node."""
  every = np.arange(relations.NUM_EDGE_LABELS)
  taken = (labels[..., None] == every).any(axis=-2)  # [B, N, 10]
  keys = rng.random(taken.shape, dtype=np.float32) + taken
  free = np.argsort(keys, axis=-1)
  missing = labels < 0
  place = np.maximum(missing.cumsum(axis=-1) - 1, 0)
  return np.where(missing, np.take_along_axis(free, place, axis=-1), labels)
