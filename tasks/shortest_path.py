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

from dnc_jax.interaction import Episodes
from tasks import graphs, routes
from tasks.base import InteractiveTask
from tasks.graph_task import GraphTask, tell
from tasks.route_environment import (
  TARGETS,
  Moves,
  RouteEnvironment,
  bucket_size,
  frontiers,
  world,
)
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
  Lesson((4, 5), (1, 2), (1, 2)),
  Lesson((4, 6), (2, 2), (2, 2)),
  Lesson((5, 10), (2, 3), (2, 2)),
  Lesson((6, 12), (2, 3), (2, 3)),
  Lesson((8, 14), (2, 4), (2, 4)),
  Lesson((10, 20), (2, 4), (2, 4)),
  Lesson((15, 25), (2, 5), (2, 5)),
  Lesson((20, 25), (2, 6), (2, 5)),
)
# Few, for training with worked answers.
WORKED_LESSONS = (
  Lesson((5, 10), (2, 3), (2, 2)),
  Lesson((6, 14), (2, 4), (1, 3)),
  Lesson((10, 20), (2, 5), (1, 4)),
  Lesson((20, 25), (2, 6), (1, 5)),
)
# The same from the smallest graphs on: among a few edges look-ups are found
# sooner than among twenty.
GROWN_LESSONS = {
  "worked_tiny": Lesson((3, 5), (1, 2), (1, 2)),
  "worked_steps": Lesson((4, 8), (1, 3), (1, 4)),
  "worked_few": Lesson((6, 12), (1, 4), (1, 4)),
  "worked_middle": Lesson((6, 14), (2, 4), (1, 4)),
  "worked_larger": Lesson((12, 25), (2, 4), (1, 5)),
  "worked_large": WORKED_LESSONS[-1],
}
# Fewer edges, and so more routes that are long.
_FAR = Lesson((8, 14), (1, 3), (2, 4))
LESSONS = {
  "paper": PAPER_LESSONS,
  "city": CITY_LESSONS,
  "worked": WORKED_LESSONS,
  "worked_small": WORKED_LESSONS[:1],
  "worked_far": (_FAR,),
  "grown": tuple(GROWN_LESSONS.values()),
  **{name: (lesson,) for name, lesson in GROWN_LESSONS.items()},
}

_MOST_TRIES = 100


@dataclasses.dataclass(frozen=True)
class ShortestPath(GraphTask, InteractiveTask):
  """Shortest path with a curriculum.

  Attributes:
    lessons: From easy to hard; their path lengths are those of the shortest
      paths asked for.
    num_queries: Routes asked for, one after the other, on each graph.
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
    double_edges: How likely an edge leads where another of its node does, in
      [0, 1], as `graphs.random_graphs` has it; the paper's is 0.
    worked: Scores the planning steps too, for what a search from both ends
      finds (`route_environment.frontiers`), as far as there are steps. The
      inputs are the same. An aid to learning that the paper does not have.
    worked_rounds: How often that search goes back from the middle to the ends,
      at least 1.
    worked_buckets: Scores, of each of the tables of `controllers.Buckets`, in
      which of so many buckets the nodes found fall, too; 0 for digits alone.
      The network has outputs for them with or without `worked`.
  """

  lessons: tuple[Lesson, ...] = PAPER_LESSONS
  num_queries: int = 1
  planning_steps: int = 10
  planning_per_edge: float = 0.0
  extra_steps: int = 3
  planner_fraction: float = 0.8
  target: str = "all"
  slack: int = 0
  small_pools: bool = False
  close_labels: bool = False
  double_edges: float = 0.0
  worked: bool = False
  worked_rounds: int = 1
  worked_buckets: int = 0

  name: ClassVar[str] = "shortest_path"
  unit: ClassVar[str] = "move"

  def __post_init__(self):
    """Checks the fields.

    Raises:
      ValueError: A field is out of its range.
    """
    self._check(
      num_queries=1,
      planning_steps=0,
      planning_per_edge=0,
      extra_steps=0,
      slack=0,
      worked_rounds=1,
      worked_buckets=0,
    )
    if not 0 <= self.planner_fraction <= 1:
      raise ValueError(
        f"planner_fraction must be from 0 to 1, got {self.planner_fraction}."
      )
    if not 0 <= self.double_edges <= 1:
      raise ValueError(
        f"double_edges must be from 0 to 1, got {self.double_edges}."
      )
    if self.target not in TARGETS:
      raise ValueError(
        f"target must be one of {', '.join(TARGETS)}, got {self.target!r}."
      )

  @property
  def output_size(self) -> int:
    """Triples, and buckets of what a search finds at either end."""
    return graphs.TRIPLE_SIZE + 2 * bucket_size(self.worked_buckets)

  @property
  def objective(self) -> RouteEnvironment:
    """Walks in which the planner helps."""
    return RouteEnvironment(self.planner_fraction, self.target, self.slack)

  @property
  def test_objective(self) -> RouteEnvironment:
    """Walks that are the network's alone, right if none is shorter."""
    return RouteEnvironment(target=self.target)

  def planning(self, num_edges: np.ndarray) -> np.ndarray:
    """Returns the planning steps that graphs of so many edges get."""
    more = np.ceil(self.planning_per_edge * np.asarray(num_edges))
    return self.planning_steps + more.astype(int)

  def length(self, lesson: int) -> int:
    """Returns the most steps that an episode of this lesson can have."""
    ranges = self.lessons[lesson]
    edges = ranges.most_edges
    planning = int(self.planning(np.array(edges)))
    query = 1 + planning + ranges.path_length[1] + self.extra_steps
    return edges + self.num_queries * query

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
    tries = 0
    while len(missing := np.flatnonzero((pairs < 0).any(axis=(1, 2)))):
      tries += 1
      if tries == _MOST_TRIES:
        raise ValueError(
          f"No graph of {tries} of lesson {int(lessons[missing[0]]) + 1} has a "
          f"shortest path of {ranges[missing[0], 2].tolist()} steps."
        )
      # The same shapes, so that rows can be exchanged.
      again = self._draw(rng, ranges)
      for old, new in zip(
        (*drawn, between, pairs), (*again[0], *again[1:]), strict=True
      ):
        old[missing] = new[missing]
    return self.encode(rng, drawn, between, pairs, length=length)._replace(
      lesson=np.asarray(lessons, np.int32)
    )

  def _draw(
    self, rng: np.random.Generator, ranges: np.ndarray
  ) -> tuple[graphs.Graphs, np.ndarray, np.ndarray]:
    """Returns graphs, their distances, and pairs of nodes, -1 where none.

    Shapes of the last two: ``[B, N, N]`` and ``[B, Q, 2]``.
    """
    drawn = graphs.random_graphs(
      rng,
      ranges[:, 0],
      ranges[:, 1],
      small_pools=self.small_pools,
      close_labels=self.close_labels,
      double_edges=self.double_edges,
    )
    between = routes.distances(drawn)
    pairs = [
      routes.random_pairs(rng, between, ranges[:, 2])
      for _ in range(self.num_queries)
    ]
    return drawn, between, np.stack(pairs, axis=1)

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
      pairs: Source and destination of each query. Shape ``[B, Q, 2]``.
      length: T, to which to pad; the longest episode's if None.

    Returns:
      The episodes, all of lesson 0.

    Raises:
      ValueError: ``length`` is too short for an episode, or a destination
        cannot be reached.
    """
    every = np.arange(len(pairs))
    source, destination = pairs[..., 0], pairs[..., 1]  # [B, Q]
    shortest = between[every[:, None], source, destination]
    if (shortest >= routes.UNREACHABLE).any():
      raise ValueError("A destination cannot be reached from its source.")
    num_edges = drawn.num_edges
    planning = self.planning(num_edges)
    takes = 1 + planning[:, None] + shortest + self.extra_steps  # [B, Q]
    inputs = tell(rng, drawn, takes.sum(axis=1), length)
    mask = np.zeros(inputs.shape[:2], np.float32)
    steps = np.arange(len(inputs))[:, None]
    asked = np.full((len(pairs), 3), -1)
    begin = num_edges
    for query in range(pairs.shape[1]):
      labels = drawn.node_labels
      asked[:, graphs.SOURCE] = labels[every, source[:, query]]
      asked[:, graphs.DESTINATION] = labels[every, destination[:, query]]
      inputs[begin, every, : graphs.TRIPLE_SIZE] = graphs.one_hots(asked)
      inputs[begin, every, graphs.PHASE_CHANNEL] = 1
      answer = begin + 1 + planning
      inputs[answer, every, graphs.PHASE_CHANNEL] = 1
      asked_at, begin = begin, begin + takes[:, query]
      mask[(steps >= answer) & (steps < begin)] = query + 1
      if self.worked:
        mask[(steps > asked_at) & (steps < answer)] = -(query + 1)
    inputs[..., graphs.ANSWER_CHANNEL] = mask > 0
    to_each = between[every[:, None], :, destination]  # [B, Q, N]
    worked = None
    if self.worked:
      worked = frontiers(
        drawn.node_labels,
        between[every[:, None], source],
        to_each,
        shortest,
        max(lesson.path_length[1] for lesson in self.lessons) // 2,
        self.worked_rounds,
        self.worked_buckets,
      )
    return Episodes(
      inputs=inputs,
      mask=mask,
      coins=rng.random(mask.shape, dtype=np.float32),
      world=world(drawn, to_each, source, worked),
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
      told = []
      here = goal = -1
      for triple, move in zip(labels[:, row].tolist(), answers, strict=True):
        whole = min(triple) >= 0
        if whole and move:
          here = triple[graphs.DESTINATION]
        elif whole:
          told.append(tuple(triple))
        elif triple[graphs.SOURCE] >= 0:
          here, goal = triple[graphs.SOURCE], triple[graphs.DESTINATION]
      logits[row] = graphs.one_hots(np.array(_first_step(told, here, goal)))
    return logits

  def summary(self, batch: Episodes, answer: Moves) -> dict[str, np.ndarray]:
    """Returns how many walks arrived, and how many steps too long those were.

    Means over an episode's queries.
    """
    source = np.asarray(batch.world.source)
    distance = np.asarray(batch.world.distance)
    arrived, excess = [], []
    for query in range(source.shape[1]):
      moving = np.asarray(answer.moving) & (np.asarray(batch.mask) == query + 1)
      there = (moving & (np.asarray(answer.remaining) == 0)).any(axis=0)
      shortest = np.take_along_axis(
        distance[:, query], source[:, query, None], axis=1
      )
      arrived.append(there)
      excess.append(
        np.where(there, moving.sum(axis=0) - shortest[:, 0], np.nan)
      )
    return {"arrived": _mean_of(arrived), "excess": _mean_of(excess)}

  def render(
    self, batch: Episodes, answer: Moves | None = None, index: int = 0
  ) -> str:
    """Returns an episode as a table: what was asked, and each move."""
    heard = graphs.read_labels(np.asarray(batch.inputs[:, index]))
    places = jax.tree.map(lambda x: np.asarray(x)[index], batch.world)
    lines = [f"Graph of {int(places.legal.sum())} edges"]
    query = 0
    for step in range(len(heard)):
      source, edge, destination = heard[step]
      if edge < 0 <= source:
        shortest = places.distance[query, places.source[query]]
        lines.append(
          f"  from {source:03d} to {destination:03d}, {shortest} steps"
        )
        query += 1
      if answer is None or not answer.moving[step, index]:
        continue
      node, taken, excess, remaining = (
        int(x[step, index])
        for x in (answer.node, answer.edge, answer.excess, answer.remaining)
      )
      one_hot = np.eye(graphs.BASE)[places.digits[node, taken]].ravel()
      triple = graphs.in_words(graphs.read_labels(one_hot))
      line = f"    move {triple}  {_left(remaining)}"
      # Of a way that leads nowhere there is no saying how much too long it is.
      if excess > 0 and remaining < routes.UNREACHABLE:
        line += f"  {excess} too long"
      lines.append(line)
    return "\n".join(lines)


def _mean_of(values: list[np.ndarray]) -> np.ndarray:
  """Returns the mean over arrays of what is not NaN; NaN if all is."""
  every = np.stack(values).astype(float)
  known = ~np.isnan(every)
  total = np.where(known, every, 0).sum(axis=0)
  return np.where(
    known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan
  )


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
