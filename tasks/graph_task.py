"""What the tasks over graphs have in common: how a graph is told, and sizes.

A sequence tells a graph, triple by triple in random order; what is asked about
it comes after.

Shapes: T steps, B graphs.
"""

from typing import Any

import numpy as np

from tasks import graphs
from tasks.base import Task


class GraphTask(Task):
  """A task with lessons over graphs, told as `tasks.graphs` has it.

  Attributes:
    lessons: From easy to hard.
  """

  lessons: tuple[Any, ...]

  @property
  def input_size(self) -> int:
    """I, numbers that the network hears at a step."""
    return graphs.INPUT_SIZE

  @property
  def output_size(self) -> int:
    """O, numbers that it answers at a step."""
    return graphs.TRIPLE_SIZE

  @property
  def num_lessons(self) -> int:
    """Number of lessons."""
    return len(self.lessons)

  def memory_size(self, lesson: int) -> int:
    """Returns a slot for each step, rounded up to a multiple of 8.

    A network may write at each step; with fewer slots than that it overwrites
    what it still needs.
    """
    return -(-self.length(lesson) // 8) * 8

  def _check(self, **least: int) -> None:
    """Checks that there are lessons, and fields against the least they may be.

    Raises:
      ValueError: There is no lesson, or a field is too small.
    """
    if not self.lessons:
      raise ValueError("lessons must hold at least one lesson, got none.")
    for name, bound in least.items():
      if getattr(self, name) < bound:
        raise ValueError(
          f"{name} must be at least {bound}, got {getattr(self, name)}."
        )


def tell(
  rng: np.random.Generator,
  drawn: graphs.Graphs,
  asking: np.ndarray,
  length: int | None,
) -> np.ndarray:
  """Returns inputs that tell graphs, with room for what is asked after.

  Args:
    rng: Source of all randomness, consumed.
    drawn: B graphs; each takes as many steps as it has edges.
    asking: Steps that come after them. Shape ``[B]``.
    length: T, to which to pad; the longest sequence's if None.

  Returns:
    Shape ``[T, B, graphs.INPUT_SIZE]``.

  Raises:
    ValueError: ``length`` is too short for a sequence.
  """
  triples, num_edges = graphs.shuffled_triples(rng, drawn)
  longest = int((num_edges + asking).max())
  if length is None:
    length = longest
  if length < longest:
    raise ValueError(
      f"length must be at least the {longest} steps of the longest sequence, "
      f"got {length}."
    )
  inputs = np.zeros((length, len(triples), graphs.INPUT_SIZE), np.float32)
  told = np.arange(triples.shape[1]) < num_edges[:, None]
  row, step = np.nonzero(told)
  inputs[step, row, : graphs.TRIPLE_SIZE] = graphs.one_hots(triples[row, step])
  return inputs


def answer_line(target: np.ndarray, said: np.ndarray | None) -> str:
  """Returns a line of a picture: the right triple, and the one given if any.

  Args:
    target: Labels of the right triple. Shape ``[3]``.
    said: Those of the network's. Shape ``[3]``.
  """
  line = f"  answer {graphs.in_words(target)}"
  if said is not None:
    line += f"  network {graphs.in_words(said)}"
    line += "" if (said == target).all() else "  wrong"
  return line
