"""What a task is, to the scripts that train and evaluate on it."""

import abc
from typing import ClassVar

import numpy as np

from dnc_jax.losses import Batch, Objective


class SequenceTask(abc.ABC):
  """A task whose inputs do not depend on what the network answers.

  A batch depends on nothing but the generator and the arguments: a caller that
  makes the generator from ``[seed, step]`` gets the same batch for the same
  step, in any process, so a stopped run goes on exactly.

  Attributes:
    name: Name on the command line.
    unit: What a single right answer is called, such as "bit" or "triple".
  """

  name: ClassVar[str]
  unit: ClassVar[str]

  @property
  @abc.abstractmethod
  def input_size(self) -> int:
    """I, numbers that the network hears at a step."""

  @property
  @abc.abstractmethod
  def output_size(self) -> int:
    """O, numbers that it answers at a step."""

  @property
  def num_lessons(self) -> int:
    """Lessons of the curriculum, from easy to hard, at least 1."""
    return 1

  @property
  @abc.abstractmethod
  def objective(self) -> Objective:
    """What is trained for and counted."""

  @abc.abstractmethod
  def sample(
    self,
    rng: np.random.Generator,
    lessons: np.ndarray,
    *,
    length: int | None = None,
  ) -> Batch:
    """Draws one sequence for each lesson named.

    Args:
      rng: Source of all randomness, consumed.
      lessons: Lesson of each sequence, in [0, num_lessons). Shape ``[B]``.
      length: T, to which the batch is padded; the longest sequence's if None.

    Returns:
      The batch, in numpy arrays.
    """

  @abc.abstractmethod
  def length(self, lesson: int) -> int:
    """Returns the most steps that a sequence of this lesson can have."""

  def memory_size(self, lesson: int) -> int | None:
    """Returns slots that suffice for this lesson, or None for the model's."""
    del lesson
    return None

  @abc.abstractmethod
  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns the right outputs, from the inputs alone.

    Args:
      inputs: What the network would hear. Shape ``[T, B, I]``.

    Returns:
      Logits that are right on every scored step. Shape ``[T, B, O]``.
    """

  @abc.abstractmethod
  def render(
    self, batch: Batch, logits: np.ndarray | None = None, index: int = 0
  ) -> str:
    """Returns a picture for people of one sequence of a batch.

    Args:
      batch: As `sample` gives it.
      logits: The network's answer, shown beside the targets. ``[T, B, O]``.
      index: Which sequence of the batch.

    Returns:
      Lines of text.
    """
