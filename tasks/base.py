"""What a task is, to the scripts that train and evaluate on it."""

import abc
from typing import Any, ClassVar

import numpy as np

from dnc_jax.interaction import Environment, Episodes
from dnc_jax.losses import Batch, Objective


class Task(abc.ABC):
  """What sequence tasks and interactive tasks have in common.

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
  def objective(self) -> Objective | Environment:
    """What is trained for and counted."""

  @property
  def test_objective(self) -> Objective | Environment:
    """What is counted when a network is tested."""
    return self.objective

  @abc.abstractmethod
  def sample(
    self,
    rng: np.random.Generator,
    lessons: np.ndarray,
    *,
    length: int | None = None,
  ) -> Batch | Episodes:
    """Draws one sequence or episode for each lesson named.

    Args:
      rng: Source of all randomness, consumed.
      lessons: Lesson of each, in [0, num_lessons). Shape ``[B]``.
      length: T, to which the batch is padded; the longest one's if None.

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
  def render(self, batch: Any, answer: Any = None, index: int = 0) -> str:
    """Returns a picture for people of one sequence of a batch.

    Args:
      batch: As `sample` gives it.
      answer: The network's: logits ``[T, B, O]`` of a sequence task, shown
        beside the targets; the outcomes of an interactive task.
      index: Which sequence of the batch.

    Returns:
      Lines of text.
    """


class SequenceTask(Task):
  """A task whose inputs do not depend on what the network answers.

  Attributes:
    certain: Whether what is heard decides what is right. If chance does, no
      answer is always right, and the best is that of least loss on average.
  """

  certain: ClassVar[bool] = True

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
    """Draws sequences; see `Task.sample`."""

  @abc.abstractmethod
  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns the right outputs, from the inputs alone.

    Args:
      inputs: What the network would hear. Shape ``[T, B, I]``.

    Returns:
      Logits that are right on every scored step; of a task that is not
      ``certain``, the log odds of each bit given all that was heard. Shape
      ``[T, B, O]``.
    """


class InteractiveTask(Task):
  """A task in which the network's own moves come back to it as input."""

  @property
  @abc.abstractmethod
  def objective(self) -> Environment:
    """What is trained in."""

  @property
  @abc.abstractmethod
  def test_objective(self) -> Environment:
    """What is tested in, where no one helps."""

  @abc.abstractmethod
  def sample(
    self,
    rng: np.random.Generator,
    lessons: np.ndarray,
    *,
    length: int | None = None,
  ) -> Episodes:
    """Draws episodes; see `Task.sample`."""

  @abc.abstractmethod
  def solve(self, heard: np.ndarray) -> np.ndarray:
    """Returns the best next move, from what was heard alone.

    Args:
      heard: All that the network would have heard so far. Shape ``[t, B, I]``.

    Returns:
      Logits whose move is right wherever one is asked for. Shape ``[B, O]``.
    """

  @abc.abstractmethod
  def summary(self, batch: Episodes, answer: Any) -> dict[str, np.ndarray]:
    """Returns what else is told of each episode.

    Args:
      batch: As `sample` gives it.
      answer: The environment's outcomes.

    Returns:
      Numbers by name, NaN where an episode has none. Shape ``[B]`` each.
    """
