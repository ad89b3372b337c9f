"""Shortest path: plan a route over a graph, move by move.

Graves et al. 2016, Methods, "Shortest path". A sequence tells a random graph as
traversal does; then a source and a destination; then there are steps to plan,
without input; then the network names edges, and hears each one that was taken
as its next input. Its answer is renormalised over the triples that leave the
node it is at, so every move is along an edge (`tasks.route_environment`).

Training mixes in an optimal planner (DAgger; structured prediction, in the
paper's words): a move is the planner's with probability β and otherwise the
network's most likely one, and the target at every node visited is a first step
of a shortest path from there, wherever the walk has got to.

    step  heard                         phase  answer  move
    0     (source 701, edge 12, 554)    0      0
    1     (source 554, edge 98, 620)    0      0
    2     (source 701, ___, 620)        1      0
    3     steps to plan                 0      0
    4                                   1      1       (701, 12, 554)
    5     (701, 12, 554)                0      1       (554, 98, 620)
"""

import dataclasses
from typing import ClassVar

import jax
import numpy as np

from dnc_jax._checks import one_of
from dnc_jax.interaction import Episodes
from tasks import graphs, routes
from tasks.base import InteractiveTask
from tasks.route_environment import TARGETS, Moves, RouteEnvironment, world
from tasks.traversal import Lesson

# Extended Data Table 5. Its lessons 10 and 11 are printed alike.
PAPER_LESSONS = (
  Lesson((5, 10), (1, 2), (2, 2)),
  Lesson((5, 20), (1, 2), (2, 2)),
  Lesson((10, 20), (1, 2), (2, 2)),
  Lesson((10, 20), (1, 2), (2, 3)),
  Lesson((10, 20), (1, 3), (2, 3)),
  Lesson((10, 20), (2, 3), (2, 3)),
  Lesson((10, 20), (2, 3), (2, 4)),
  Lesson((10, 20), (2, 4), (2, 4)),
  Lesson((10, 25), (2, 4), (2, 4)),
  Lesson((10, 25), (2, 4), (2, 5)),
  Lesson((10, 25), (2, 4), (2, 5)),
  Lesson((15, 25), (2, 4), (2, 5)),
  Lesson((15, 25), (2, 5), (2, 5)),
  Lesson((20, 25), (2, 5), (2, 5)),
  Lesson((20, 25), (2, 6), (2, 5)),
)
# Smaller steps at the start, for a network that can look triples up.
CITY_LESSONS = (
  Lesson((4, 8), (2, 3), (1, 2)),
  Lesson((6, 10), (2, 3), (1, 3)),
  Lesson((8, 14), (2, 3), (2, 3)),
  Lesson((8, 14), (2, 4), (2, 4)),
  Lesson((10, 20), (2, 4), (2, 4)),
  Lesson((15, 25), (2, 5), (2, 5)),
  Lesson((20, 25), (2, 6), (2, 5)),
)
LESSONS = {"paper": PAPER_LESSONS, "city": CITY_LESSONS}

_MOST_TRIES = 100


@dataclasses.dataclass(frozen=True)
class ShortestPath(InteractiveTask):
  """Shortest path with a curriculum.

  Attributes:
    lessons: From easy to hard; their path lengths are those of the shortest
      paths asked for.
    planning_steps: Steps without input between query and answer; the paper's
      are 10.
    planning_per_edge: As many more for each edge of the graph, at least 0: a
      budget that grows with what is to be thought about (Shamshoum et al.
      2024).
    extra_steps: Moves that a walk may make beyond the shortest path's length
      before it is cut off, at least 0; the paper tells no such cap.
    planner_fraction: β, how likely a move in training is the planner's, in
      [0, 1]; the paper's is 0.8, drawn anew for each move.
    target: ``"all"``: any first step of any shortest path is right, and the
      loss is -log of their chances' sum. ``"one"``: the first that the planner
      finds, as the paper reads. ``"even"``: the mean of -log over all of them.
    slack: Steps that an episode may be too long by and still count as right
      for the curriculum: 0, as the caption of the paper's Extended Data Table
      5 has it, or 1, as its Methods.
    small_pools: As `Traversal.small_pools`.
    close_labels: As `Traversal.close_labels`.
  """

  lessons: tuple[Lesson, ...] = PAPER_LESSONS
  planning_steps: int = 10
  planning_per_edge: float = 0.0
  extra_steps: int = 3
  planner_fraction: float = 0.8
  target: str = "all"
  slack: int = 0
  small_pools: bool = False
  close_labels: bool = False

  name: ClassVar[str] = "shortest_path"
  unit: ClassVar[str] = "move"
  input_size: ClassVar[int] = graphs.INPUT_SIZE
  output_size: ClassVar[int] = graphs.TRIPLE_SIZE

  def __post_init__(self):
    """Checks the fields.

    Raises:
      ValueError: A field is out of its range.
    """
    if not self.lessons:
      raise ValueError("lessons must hold at least one lesson, got none.")
    for name in ("planning_steps", "planning_per_edge", "extra_steps", "slack"):
      if getattr(self, name) < 0:
        raise ValueError(
          f"{name} must be at least 0, got {getattr(self, name)}."
        )
    if not 0 <= self.planner_fraction <= 1:
      raise ValueError(
        f"planner_fraction must be from 0 to 1, got {self.planner_fraction}."
      )
    one_of("target", self.target, TARGETS)

  @property
  def objective(self) -> RouteEnvironment:
    """Walks in which the planner helps."""
    return RouteEnvironment(self.planner_fraction, self.target, self.slack)

  @property
  def test_objective(self) -> RouteEnvironment:
    """Walks that are the network's alone, right if none is shorter."""
    return RouteEnvironment(target=self.target)

  @property
  def num_lessons(self) -> int:
    """Number of lessons."""
    return len(self.lessons)

  def planning(self, num_edges: np.ndarray) -> np.ndarray:
    """Returns the planning steps that graphs of so many edges get."""
    more = np.ceil(self.planning_per_edge * np.asarray(num_edges))
    return self.planning_steps + more.astype(int)

  def length(self, lesson: int) -> int:
    """Returns the most steps that an episode of this lesson can have."""
    ranges = self.lessons[lesson]
    edges = ranges.most_edges
    planning = int(self.planning(np.array(edges)))
    return edges + 1 + planning + ranges.path_length[1] + self.extra_steps

  def memory_size(self, lesson: int) -> int:
    """Returns a slot for each step, rounded up to a multiple of 8."""
    return -(-self.length(lesson) // 8) * 8

  def sample(
    self,
    rng: np.random.Generator,
    lessons: np.ndarray,
    *,
    length: int | None = None,
  ) -> Episodes:
    """Draws graphs and what to find on them; see `InteractiveTask.sample`.

    Raises:
      ValueError: A lesson's graphs never have a path as long as it asks for.
    """
    ranges = np.array([self.lessons[lesson] for lesson in lessons])  # [B, 3, 2]
    drawn, between, pairs = self._draw(rng, ranges)
    for _ in range(_MOST_TRIES):
      missing = np.flatnonzero(pairs[:, 0] < 0)
      if not len(missing):
        break
      # The same shapes, so that rows can be exchanged.
      again = self._draw(rng, ranges)
      for old, new in zip(
        (*drawn, between, pairs), (*again[0], *again[1:]), strict=True
      ):
        old[missing] = new[missing]
    else:
      raise ValueError(
        f"No graph of {_MOST_TRIES} of lesson {int(lessons[missing[0]]) + 1} "
        f"has a shortest path of {ranges[missing[0], 2].tolist()} steps."
      )
    return self.encode(rng, drawn, between, pairs, length=length)._replace(
      lesson=np.asarray(lessons, np.int32)
    )

  def _draw(
    self, rng: np.random.Generator, ranges: np.ndarray
  ) -> tuple[graphs.Graphs, np.ndarray, np.ndarray]:
    """Returns graphs, their distances, and pairs of nodes, -1 where none."""
    drawn = graphs.random_graphs(
      rng,
      ranges[:, 0],
      ranges[:, 1],
      small_pools=self.small_pools,
      close_labels=self.close_labels,
    )
    between = routes.distances(drawn)
    return drawn, between, routes.random_pairs(rng, between, ranges[:, 2])

  def encode(
    self,
    rng: np.random.Generator,
    drawn: graphs.Graphs,
    between: np.ndarray,
    pairs: np.ndarray,
    *,
    length: int | None = None,
  ) -> Episodes:
    """Returns episodes that tell graphs and ask for routes over them.

    Args:
      rng: Source of all randomness, consumed.
      drawn: B graphs.
      between: Their `routes.distances`. Shape ``[B, N, N]``.
      pairs: Source and destination of each. Shape ``[B, 2]``.
      length: T, to which to pad; the longest episode's if None.

    Returns:
      The episodes, all of lesson 0.

    Raises:
      ValueError: ``length`` is too short for an episode, or a destination
        cannot be reached.
    """
    every = np.arange(len(pairs))
    source, destination = pairs[:, 0], pairs[:, 1]
    shortest = between[every, source, destination]
    if (shortest >= routes.UNREACHABLE).any():
      raise ValueError("A destination cannot be reached from its source.")
    triples, num_edges = graphs.shuffled_triples(rng, drawn)
    begin = num_edges + 1 + self.planning(num_edges)
    end = begin + shortest + self.extra_steps
    if length is None:
      length = int(end.max())
    if length < end.max():
      raise ValueError(
        f"length must be at least the {end.max()} steps of the longest "
        f"episode, got {length}."
      )
    inputs = np.zeros((length, len(pairs), graphs.INPUT_SIZE), np.float32)
    told = np.arange(triples.shape[1]) < num_edges[:, None]
    row, step = np.nonzero(told)
    inputs[step, row, : graphs.TRIPLE_SIZE] = graphs.one_hots(
      triples[row, step]
    )
    query = np.full((len(pairs), 3), -1)
    query[:, graphs.SOURCE] = drawn.node_labels[every, source]
    query[:, graphs.DESTINATION] = drawn.node_labels[every, destination]
    inputs[num_edges, every, : graphs.TRIPLE_SIZE] = graphs.one_hots(query)
    inputs[num_edges, every, graphs.PHASE_CHANNEL] = 1
    inputs[begin, every, graphs.PHASE_CHANNEL] = 1
    steps = np.arange(length)[:, None]
    mask = ((steps >= begin) & (steps < end)).astype(np.float32)
    inputs[..., graphs.ANSWER_CHANNEL] = mask
    return Episodes(
      inputs=inputs,
      mask=mask,
      coins=rng.random(mask.shape, dtype=np.float32),
      world=world(drawn, between[every, :, destination], source),
      lesson=np.zeros(len(pairs), np.int32),
    )

  def solve(self, heard: np.ndarray) -> np.ndarray:
    """Returns the next move by looking for the shortest path in what was heard.

    Args:
      heard: All that the network has heard so far. Shape ``[t, B, I]``.

    Returns:
      Logits, shape ``[B, O]``.
    """
    labels = graphs.read_labels(heard)
    logits = np.zeros((heard.shape[1], graphs.TRIPLE_SIZE), np.float32)
    for row in range(heard.shape[1]):
      if not heard[-1, row, graphs.ANSWER_CHANNEL]:
        continue
      answers = heard[:, row, graphs.ANSWER_CHANNEL] > 0
      story = labels[~answers, row]
      told = [tuple(triple) for triple in story.tolist() if min(triple) >= 0]
      asked = next(
        triple
        for triple in story.tolist()
        if triple[graphs.EDGE] < 0 <= triple[graphs.SOURCE]
      )
      here, goal = asked[graphs.SOURCE], asked[graphs.DESTINATION]
      for triple in labels[answers, row].tolist():
        here = triple[graphs.DESTINATION] if min(triple) >= 0 else here
      logits[row] = graphs.one_hots(np.array(_first_step(told, here, goal)))
    return logits

  def render(
    self, batch: Episodes, answer: Moves | None = None, index: int = 0
  ) -> str:
    """Returns an episode as a table: what was asked, and each move."""
    heard = graphs.read_labels(np.asarray(batch.inputs[:, index]))
    asked = heard[(heard[:, graphs.EDGE] < 0) & (heard[:, graphs.SOURCE] >= 0)]
    places = jax.tree.map(lambda x: np.asarray(x)[index], batch.world)
    source, _, destination = asked[0]
    lines = [
      f"Graph of {int(places.legal.sum())} edges: from {source:03d} to "
      f"{destination:03d}, {places.distance[places.source]} steps"
    ]
    if answer is not None:
      for step in np.flatnonzero(np.asarray(answer.moving[:, index])):
        node, edge, excess, remaining = (
          int(x[step, index])
          for x in (answer.node, answer.edge, answer.excess, answer.remaining)
        )
        one_hot = np.eye(graphs.BASE)[places.digits[node, edge]].ravel()
        triple = ",".join(f"{x:03d}" for x in graphs.read_labels(one_hot))
        lines.append(
          f"  move ({triple})  {_left(remaining)}"
          + (f"  {excess} too long" if excess > 0 else "")
        )
    return "\n".join(lines)


def _first_step(
  told: list[tuple[int, int, int]], here: int, goal: int
) -> tuple[int, int, int]:
  """Returns the first triple of a shortest path, by search from the goal."""
  steps = {goal: 0}
  front = {goal}
  while front and here not in steps:
    front = {s for s, _, d in told if d in front and s not in steps}
    steps |= dict.fromkeys(front, 1 + max(steps.values()))
  return min(
    (triple for triple in told if triple[0] == here and triple[2] in steps),
    key=lambda triple: steps[triple[2]],
  )


def _left(remaining: int) -> str:
  """Returns how far it is still, in words."""
  if remaining >= routes.UNREACHABLE:
    return "no way on"
  return f"{remaining} to go" if remaining else "there"
