"""Graph traversal: walk a graph along the edges named.

Graves et al. 2016, Methods, "Traversal". A sequence tells a random graph,
triple by triple in random order; then a query, which names a starting node and
the edges to follow; then the network answers with the whole triples along the
way, each with all its labels. One walk over a tiny graph:

    step  heard                        phase  answer  said
    0     (source 701, edge 12, 554)   0      0
    1     (source 554, edge 98, 701)   0      0
    2     (source 701, edge 12, ___)   1      0
    3     (source ___, edge 98, ___)   0      0
    4                                  1      1       (701, 12, 554)
    5                                  0      1       (554, 98, 701)

The phase channel is on at the first step of each query and of each answer; the
answer channel is on while an answer is asked for. An answer has as many triples
as its query, so no end mark is needed.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import numpy as np

from dnc_jax import losses
from dnc_jax.losses import Batch
from tasks import graphs
from tasks.base import SequenceTask
from tasks.graph_task import GraphTask, answer_line, tell


class Lesson(NamedTuple):
  """Ranges that a lesson's graphs and walks are drawn from, ends included.

  Attributes:
    nodes: Least and most nodes.
    out_degree: Least and most edges that leave a node.
    path_length: Least and most steps of a walk.
  """

  nodes: tuple[int, int]
  out_degree: tuple[int, int]
  path_length: tuple[int, int]

  @property
  def most_edges(self) -> int:
    """Most edges that a graph of this lesson can have."""
    return self.nodes[1] * min(self.out_degree[1], self.nodes[1] - 1)


# Extended Data Table 3.
PAPER_LESSONS = (
  Lesson((3, 10), (2, 4), (1, 1)),
  Lesson((3, 10), (2, 4), (1, 2)),
  Lesson((5, 10), (2, 4), (1, 3)),
  Lesson((5, 10), (2, 4), (1, 4)),
  Lesson((10, 15), (2, 4), (1, 4)),
  Lesson((10, 15), (2, 4), (1, 5)),
  Lesson((10, 20), (2, 4), (1, 5)),
  Lesson((10, 20), (2, 4), (1, 6)),
  Lesson((10, 30), (2, 4), (1, 6)),
  Lesson((10, 30), (2, 4), (1, 7)),
  Lesson((10, 30), (2, 4), (1, 8)),
  Lesson((10, 30), (2, 4), (1, 9)),
  Lesson((10, 40), (2, 6), (1, 10)),
  Lesson((10, 40), (2, 6), (1, 20)),
)

# Smaller graphs at the start, where the paper's first lesson takes longest.
CITY_LESSONS = (
  Lesson((3, 6), (2, 3), (1, 1)),
  Lesson((3, 6), (2, 3), (1, 2)),
  Lesson((4, 8), (2, 4), (1, 3)),
  Lesson((6, 12), (2, 4), (1, 4)),
  Lesson((10, 20), (2, 4), (2, 6)),
  Lesson((15, 30), (2, 4), (3, 8)),
  Lesson((25, 40), (2, 6), (4, 10)),
  Lesson((40, 60), (2, 6), (6, 12)),
)
# For a network that has been through the first few of those: up to graphs as
# large as the centre of a city.
LARGE_LESSONS = (
  Lesson((10, 20), (2, 4), (2, 6)),
  Lesson((15, 30), (2, 5), (3, 8)),
  Lesson((25, 40), (2, 6), (4, 9)),
  Lesson((40, 60), (2, 6), (5, 10)),
)
# What to polish it on, with a learning rate that falls.
FINAL_LESSONS = (Lesson((40, 64), (2, 6), (5, 9)),)
# The same with shorter walks, so with more first steps, where it errs most.
POLISH_LESSONS = (Lesson((40, 64), (2, 6), (1, 7)),)
# Quick ones, for close labels: to tell labels of one digit's difference apart.
CLOSE_SMALL_LESSONS = (Lesson((6, 16), (2, 5), (1, 7)),)
CLOSE_LESSONS = (Lesson((8, 30), (2, 6), (1, 7)),)
CLOSE_LARGE_LESSONS = (Lesson((16, 40), (2, 6), (1, 7)),)
# Walks that grow to twenty steps, on graphs that grow again.
LONG_LESSONS = (
  Lesson((8, 16), (2, 4), (1, 8)),
  Lesson((8, 16), (2, 5), (2, 11)),
  Lesson((10, 20), (2, 5), (3, 14)),
  Lesson((10, 20), (2, 6), (4, 17)),
  Lesson((12, 24), (2, 6), (5, 20)),
  Lesson((40, 64), (2, 6), (5, 20)),
)
# The last two of those apart: long walks learned on small graphs, where a step
# is quick, then polished on large ones.
LONG_SMALL_LESSONS = LONG_LESSONS[-2:-1]
LONG_LARGE_LESSONS = LONG_LESSONS[-1:]
LESSONS = {
  "paper": PAPER_LESSONS,
  "city": CITY_LESSONS,
  "large": LARGE_LESSONS,
  "final": FINAL_LESSONS,
  "polish": POLISH_LESSONS,
  "close_small": CLOSE_SMALL_LESSONS,
  "close": CLOSE_LESSONS,
  "close_large": CLOSE_LARGE_LESSONS,
  "long": LONG_LESSONS,
  "long_small": LONG_SMALL_LESSONS,
  "long_large": LONG_LARGE_LESSONS,
  "small": CITY_LESSONS[:1],
}


@dataclasses.dataclass(frozen=True)
class Traversal(GraphTask, SequenceTask):
  """Graph traversal with a curriculum.

  Attributes:
    lessons: From easy to hard.
    num_queries: Walks asked for, one after the other, on each graph.
    small_pools: Draws the number of edge labels too, down to the most that one
      node needs, as on a map whose lines run through many stations. False is
      the paper's: as many as nodes.
    close_labels: Draws the node labels of half of the graphs, and the edge
      labels of half of them, from few digits, so that many differ in one digit
      only: what a small graph teaches then holds for a large one.
  """

  lessons: tuple[Lesson, ...] = PAPER_LESSONS
  num_queries: int = 1
  small_pools: bool = False
  close_labels: bool = False

  name: ClassVar[str] = "traversal"
  unit: ClassVar[str] = "triple"

  def __post_init__(self):
    """Checks the fields.

    Raises:
      ValueError: There is no lesson, or no walk to ask for.
    """
    self._check(num_queries=1)

  @property
  def objective(self) -> losses.Objective:
    """Cross-entropy of each digit."""
    return losses.digits

  def length(self, lesson: int) -> int:
    """Returns the most steps that a sequence of this lesson can have."""
    ranges = self.lessons[lesson]
    return ranges.most_edges + 2 * self.num_queries * ranges.path_length[1]

  def sample(
    self,
    rng: np.random.Generator,
    lessons: np.ndarray,
    *,
    length: int | None = None,
  ) -> Batch:
    """Draws graphs and walks; see `SequenceTask.sample`."""
    ranges = np.array([self.lessons[lesson] for lesson in lessons])  # [B, 3, 2]
    drawn = graphs.random_graphs(
      rng,
      ranges[:, 0],
      ranges[:, 1],
      small_pools=self.small_pools,
      close_labels=self.close_labels,
    )
    shortest, longest = ranges[:, 2, :1], ranges[:, 2, 1:]
    path_lengths = rng.integers(
      shortest, longest + 1, size=(len(lessons), self.num_queries)
    )
    return encode(rng, drawn, path_lengths, length=length)._replace(
      lesson=np.asarray(lessons, np.int32)
    )

  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns the right triples by looking them up in what was heard."""
    outputs = np.zeros((*inputs.shape[:2], graphs.TRIPLE_SIZE), np.float32)
    heard = graphs.read_labels(inputs)
    for row in range(inputs.shape[1]):
      triples: dict[tuple[int, int], tuple[int, int, int]] = {}
      walk: list[tuple[int, int, int]] = []
      here = -1
      for step in range(len(inputs)):
        source, edge, destination = heard[step, row]
        if inputs[step, row, graphs.ANSWER_CHANNEL]:
          outputs[step, row] = graphs.one_hots(np.array(walk.pop(0)))
        elif destination >= 0:
          triples[source, edge] = (source, edge, destination)
        elif edge >= 0:
          walk.append(triples[source if source >= 0 else here, edge])
          here = walk[-1][2]
    return outputs

  def render(
    self, batch: Batch, logits: np.ndarray | None = None, index: int = 0
  ) -> str:
    """Returns a walk as a table: heard, asked, right answer, given answer."""
    inputs = np.asarray(batch.inputs[:, index])
    heard = graphs.read_labels(inputs)
    targets = graphs.read_labels(np.asarray(batch.targets[:, index]))
    said = None if logits is None else graphs.read_labels(logits[:, index])
    asked = np.asarray(batch.mask[:, index]) > 0
    told = [
      graphs.in_words(triple)
      for triple, answering in zip(heard, asked, strict=True)
      if triple[2] >= 0 and not answering
    ]
    lines = [f"Graph of {len(told)} edges: " + " ".join(told)]
    for step in range(len(inputs)):
      if asked[step]:
        given = None if said is None else said[step]
        lines.append(answer_line(targets[step], given))
      elif heard[step, 1] >= 0 and heard[step, 2] < 0:
        lines.append(f"  query  {graphs.in_words(heard[step])}")
    return "\n".join(lines)


def encode(
  rng: np.random.Generator,
  drawn: graphs.Graphs,
  path_lengths: np.ndarray,
  *,
  walks: list[np.ndarray] | None = None,
  length: int | None = None,
) -> Batch:
  """Returns sequences that tell graphs and ask for walks over them.

  Args:
    rng: Source of all randomness, consumed.
    drawn: B graphs.
    path_lengths: Steps of each walk, at least 1. Shape ``[B, queries]``.
    walks: Labels of the triples along each walk, for each query an array of
      shape ``[B, at least its longest path, 3]``; random walks if None.
    length: T, to which to pad; the longest sequence's if None.

  Returns:
    The batch, all of lesson 0.

  Raises:
    ValueError: ``length`` is too short for a sequence.
  """
  batch_size, num_queries = path_lengths.shape
  num_edges = drawn.num_edges
  inputs = tell(rng, drawn, 2 * path_lengths.sum(axis=1), length)
  targets = np.zeros((*inputs.shape[:2], graphs.TRIPLE_SIZE), np.float32)
  mask = np.zeros(inputs.shape[:2], np.float32)
  every = np.arange(batch_size)
  start = num_edges
  for query in range(num_queries):
    count = path_lengths[:, query]
    walk = (
      _walk_labels(rng, drawn, int(count.max()))
      if walks is None
      else walks[query]
    )
    asked = walk.copy()
    asked[:, 1:, graphs.SOURCE] = -1
    asked[..., graphs.DESTINATION] = -1
    row, position = np.nonzero(np.arange(walk.shape[1]) < count[:, None])
    step = start[row] + position
    inputs[step, row, : graphs.TRIPLE_SIZE] = graphs.one_hots(
      asked[row, position]
    )
    inputs[start, every, graphs.PHASE_CHANNEL] = 1
    start = start + count
    step = start[row] + position
    targets[step, row] = graphs.one_hots(walk[row, position])
    inputs[step, row, graphs.ANSWER_CHANNEL] = 1
    mask[step, row] = 1
    inputs[start, every, graphs.PHASE_CHANNEL] = 1
    start = start + count
  return Batch(inputs, targets, mask, np.zeros(batch_size, np.int32))


def _walk_labels(
  rng: np.random.Generator, drawn: graphs.Graphs, num_steps: int
) -> np.ndarray:
  """Returns the labels of the triples along random walks, ``[B, S, 3]``."""
  visited, taken = graphs.random_walks(rng, drawn, num_steps)
  rows = np.arange(len(visited))[:, None]
  return np.stack(
    [
      drawn.node_labels[rows, visited[:, :-1]],
      drawn.edge_labels[rows, visited[:, :-1], taken],
      drawn.node_labels[rows, visited[:, 1:]],
    ],
    axis=-1,
  )
