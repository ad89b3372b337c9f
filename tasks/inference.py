"""Inference: follow a relation that stands for several edges.

Graves et al. 2016, Methods, "Inference". A sequence tells a random graph,
triple by triple in random order, whose edges have labels from 0 to 9. Then come
queries, each a starting node and the label of a relation, which stands for a
fixed sequence of edges (`tasks.relations`) that the network is never told. It
is given some steps to plan, without input, and then answers with one triple:
start, relation, and the node where the relation leads. One query over a tiny
graph, where the relation 17 stands for the edges 3, 4:

    step  heard                        phase  answer  said
    0     (source 701, edge 3, 554)    0      0
    1     (source 554, edge 4, 120)    0      0
    2     (source 701, edge 17, ___)   1      0
    3                                  0      0
    ...   as many as are for planning  0      0
    13                                 1      1       (701, 17, 120)

The phase channel is on at the step of each query and of each answer; the answer
channel is on while an answer is asked for.

Shapes: B graphs, Q queries.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import numpy as np

from dnc_jax import losses
from dnc_jax.losses import Batch
from tasks import graphs, questions, relations
from tasks.base import SequenceTask
from tasks.graph_task import GraphTask, answer_line, tell


class Lesson(NamedTuple):
  """Ranges that a lesson's graphs and relations are drawn from.

  Attributes:
    nodes: Least and most nodes, at least 3.
    out_degree: Least and most edges that leave a node, at least 2.
    relation_length: Least and most edges that a relation stands for, in
      [1, 5]. Of one edge are the edge labels themselves.
    num_relations: How many relations of each length, the first ones of the
      table, in [1, 100].
  """

  nodes: tuple[int, int]
  out_degree: tuple[int, int]
  relation_length: tuple[int, int]
  num_relations: int = relations.PER_LENGTH

  @property
  def most_edges(self) -> int:
    """Most edges that a graph of this lesson can have."""
    return self.nodes[1] * min(self.out_degree[1], self.nodes[1] - 1)


# Extended Data Table 4.
PAPER_LESSONS = (
  Lesson((3, 3), (2, 2), (2, 2)),
  Lesson((3, 5), (2, 2), (2, 2)),
  Lesson((4, 6), (2, 4), (2, 2)),
  Lesson((4, 6), (2, 4), (2, 2)),
  Lesson((6, 12), (2, 4), (2, 2)),
  Lesson((12, 18), (2, 4), (2, 2)),
  Lesson((4, 6), (2, 4), (2, 3)),
  Lesson((6, 12), (2, 4), (2, 3)),
  Lesson((12, 18), (2, 4), (2, 3)),
  Lesson((4, 6), (2, 4), (2, 4)),
  Lesson((4, 6), (2, 4), (2, 4)),
  Lesson((6, 12), (2, 4), (2, 4)),
  Lesson((12, 18), (2, 4), (2, 4)),
  Lesson((4, 6), (2, 4), (2, 5)),
  Lesson((6, 12), (2, 4), (2, 5)),
  Lesson((12, 18), (2, 4), (2, 5)),
  Lesson((20, 25), (2, 4), (2, 5)),
)

# A few relations first, on graphs so small that a step is quick; then more of
# them, then longer ones, of one length at a time, and large graphs at the end.
FAMILY_LESSONS = (
  Lesson((3, 5), (2, 3), (1, 1)),
  Lesson((3, 5), (2, 3), (1, 2), 4),
  Lesson((4, 6), (2, 4), (2, 2), 10),
  Lesson((4, 6), (3, 4), (2, 2), 30),
  Lesson((4, 6), (3, 4), (2, 2)),
  Lesson((4, 6), (3, 4), (3, 3), 30),
  Lesson((4, 6), (3, 4), (3, 3)),
  Lesson((5, 7), (3, 4), (4, 4), 30),
  Lesson((5, 7), (3, 4), (4, 4)),
  Lesson((5, 7), (3, 4), (5, 5), 30),
  Lesson((5, 7), (3, 4), (5, 5)),
  Lesson((5, 7), (2, 4), (2, 5)),
  Lesson((6, 12), (2, 4), (2, 5)),
  Lesson((12, 18), (2, 4), (2, 5)),
  Lesson((20, 25), (2, 4), (2, 5)),
)
# All relations at once, for training with worked answers.
WORKED_LESSONS = (
  Lesson((3, 5), (2, 3), (1, 1)),
  Lesson((4, 6), (2, 4), (1, 5)),
  Lesson((6, 12), (2, 4), (2, 5)),
  Lesson((12, 18), (2, 4), (2, 5)),
  Lesson((20, 25), (2, 4), (2, 5)),
)
# The last of those apart, to polish on.
WORKED_LARGE_LESSONS = WORKED_LESSONS[-1:]
LESSONS = {
  "paper": PAPER_LESSONS,
  "family": FAMILY_LESSONS,
  "worked": WORKED_LESSONS,
  "worked_large": WORKED_LARGE_LESSONS,
}


@dataclasses.dataclass(frozen=True)
class Inference(GraphTask, SequenceTask):
  """Inference with a curriculum.

  Attributes:
    lessons: From easy to hard.
    num_queries: Questions asked, one after the other, on each graph.
    planning_steps: Steps without input between a question and its answer.
    table_seed: What the relations are drawn from.
    worked: Scores the planning steps too, for the triples along the way, one
      after the other. The inputs are the same. An aid to learning that the
      paper does not have: the targets then tell what relations stand for.
  """

  lessons: tuple[Lesson, ...] = PAPER_LESSONS
  num_queries: int = 3
  planning_steps: int = 10
  table_seed: int = 0
  worked: bool = False

  name: ClassVar[str] = "inference"
  unit: ClassVar[str] = "triple"

  def __post_init__(self):
    """Checks the fields.

    Raises:
      ValueError: A field is out of its range.
    """
    self._check(num_queries=1, planning_steps=0, table_seed=0)
    for lesson in self.lessons:
      if lesson.nodes[0] < 3 or lesson.out_degree[0] < 2:
        raise ValueError(
          "lessons must have graphs of at least 3 nodes and 2 edges from each, "
          f"got {lesson}."
        )
      if lesson.out_degree[1] > relations.NUM_EDGE_LABELS:
        raise ValueError(
          f"out_degree must be at most {relations.NUM_EDGE_LABELS}, one label "
          f"each, got {lesson.out_degree[1]}."
        )
      lengths = lesson.relation_length
      if not 1 <= lengths[0] <= lengths[1] <= relations.LONGEST:
        raise ValueError(
          f"relation_length must be within 1 to {relations.LONGEST}, got "
          f"{lengths}."
        )
      if not 1 <= lesson.num_relations <= relations.PER_LENGTH:
        raise ValueError(
          f"num_relations must be from 1 to {relations.PER_LENGTH}, got "
          f"{lesson.num_relations}."
        )
    longest = max(lesson.relation_length[1] for lesson in self.lessons)
    if self.worked and self.planning_steps < longest:
      raise ValueError(
        f"planning_steps must be at least {longest}, the edges of the longest "
        f"relation, for worked answers, got {self.planning_steps}."
      )

  @property
  def objective(self) -> losses.Objective:
    """Cross-entropy of each digit."""
    return losses.digits

  def length(self, lesson: int) -> int:
    """Returns the most steps that a sequence of this lesson can have."""
    asking = self.num_queries * (self.planning_steps + 2)
    return self.lessons[lesson].most_edges + asking

  def sample(
    self,
    rng: np.random.Generator,
    lessons: np.ndarray,
    *,
    length: int | None = None,
  ) -> Batch:
    """Draws graphs and questions; see `SequenceTask.sample`."""
    drawn_from = [self.lessons[lesson] for lesson in lessons]
    ranges = np.array([lesson[:3] for lesson in drawn_from])  # [B, 3, 2]
    counts = np.array([lesson.num_relations for lesson in drawn_from])
    drawn, queries, ways = questions.ask(
      rng,
      graphs.random_graphs(rng, ranges[:, 0], ranges[:, 1]),
      relations.table(self.table_seed),
      ranges[:, 2],
      counts,
      self.num_queries,
    )
    return encode(
      rng,
      drawn,
      queries,
      planning_steps=self.planning_steps,
      ways=ways if self.worked else None,
      length=length,
    )._replace(lesson=np.asarray(lessons, np.int32))

  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns the right triples by looking them up in what was heard."""
    table = relations.table(self.table_seed)
    outputs = np.zeros((*inputs.shape[:2], graphs.TRIPLE_SIZE), np.float32)
    heard = graphs.read_labels(inputs)
    for row in range(inputs.shape[1]):
      leads: dict[tuple[int, int], int] = {}
      answer = np.full(3, -1)
      for step in range(len(inputs)):
        source, edge, destination = heard[step, row]
        if inputs[step, row, graphs.ANSWER_CHANNEL]:
          outputs[step, row] = graphs.one_hots(answer)
        elif destination >= 0:
          leads[source, edge] = destination
        elif edge >= 0:
          here = source
          for index, label in enumerate(table[edge][table[edge] >= 0]):
            there = leads[here, label]
            if self.worked:
              triple = np.array([here, label, there])
              outputs[step + 1 + index, row] = graphs.one_hots(triple)
            here = there
          answer = np.array([source, edge, here])
    return outputs

  def render(
    self, batch: Batch, logits: np.ndarray | None = None, index: int = 0
  ) -> str:
    """Returns the graph, and each question with the right and given answer."""
    table = relations.table(self.table_seed)
    heard = graphs.read_labels(np.asarray(batch.inputs[:, index]))
    targets = graphs.read_labels(np.asarray(batch.targets[:, index]))
    said = None if logits is None else graphs.read_labels(logits[:, index])
    told = [graphs.in_words(triple) for triple in heard if triple[2] >= 0]
    lines = [f"Graph of {len(told)} edges: " + " ".join(told)]
    for step, triple in enumerate(heard):
      if batch.mask[step, index] > 0:
        given = None if said is None else said[step]
        lines.append(answer_line(targets[step], given))
      elif triple[1] >= 0 and triple[2] < 0:
        edges = " ".join(str(x) for x in table[triple[1]] if x >= 0)
        lines.append(f"  query  {graphs.in_words(triple)}, edges {edges}")
    return "\n".join(lines)


def encode(
  rng: np.random.Generator,
  drawn: graphs.Graphs,
  queries: np.ndarray,
  *,
  planning_steps: int,
  ways: np.ndarray | None = None,
  length: int | None = None,
) -> Batch:
  """Returns sequences that tell graphs and ask questions about them.

  Args:
    rng: Source of all randomness, consumed.
    drawn: B graphs.
    queries: Labels (start, relation, end) of each question. ``[B, Q, 3]``.
    planning_steps: Steps between a question and its answer, at least 0.
    ways: Labels of the triples along the way of each question, -1 beyond its
      end, to be said at the planning steps; these are not scored if None.
      Shape ``[B, Q, 5, 3]``.
    length: T, to which to pad; the longest sequence's if None.

  Returns:
    The batch, all of lesson 0.

  Raises:
    ValueError: ``length`` is too short for a sequence.
  """
  batch_size, num_queries, _ = queries.shape
  num_edges = drawn.num_edges
  asking = np.full(batch_size, num_queries * (planning_steps + 2))
  inputs = tell(rng, drawn, asking, length)
  targets = np.zeros((*inputs.shape[:2], graphs.TRIPLE_SIZE), np.float32)
  mask = np.zeros(inputs.shape[:2], np.float32)
  every = np.arange(batch_size)
  asked = queries.copy()
  asked[..., graphs.DESTINATION] = -1
  for query in range(num_queries):
    ask = num_edges + query * (planning_steps + 2)
    answer = ask + planning_steps + 1
    inputs[ask, every, : graphs.TRIPLE_SIZE] = graphs.one_hots(asked[:, query])
    inputs[ask, every, graphs.PHASE_CHANNEL] = 1
    inputs[answer, every, graphs.PHASE_CHANNEL] = 1
    inputs[answer, every, graphs.ANSWER_CHANNEL] = 1
    targets[answer, every] = graphs.one_hots(queries[:, query])
    mask[answer, every] = 1
    if ways is not None:
      row, edge = np.nonzero(ways[:, query, :, graphs.EDGE] >= 0)
      step = ask[row] + 1 + edge
      targets[step, row] = graphs.one_hots(ways[row, query, edge])
      mask[step, row] = 1
  return Batch(inputs, targets, mask, np.zeros(batch_size, np.int32))
