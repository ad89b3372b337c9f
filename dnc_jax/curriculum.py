"""A curriculum: lessons of growing difficulty, one after the other.

The rule is that of Graves et al., "Hybrid computing using a neural network with
dynamic external memory", Nature 538 (2016), Methods, "Curriculum": the lessons
are a linear sequence; every 100 batches the fraction of episodes of the current
lesson that are fully right (the most likely answer at every step) is compared
with a threshold of 90 %, and at or above it the next lesson begins; 10 % of the
examples are drawn uniformly from the earlier lessons, lest they be forgotten.

For the shortest path the paper has 80 % of 50 fresh episodes every 2,000
batches, and no earlier examples since its lessons contain the earlier ones; for
Mini-SHRDLU 85 % of the constraints every 400 batches. These are other values of
the same `Curriculum`.

Differs from the paper: a cap on the number of batches in a lesson can be set,
after which the next one begins whatever the score. It is off by default.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dnc_jax._checks import at_least


@dataclasses.dataclass(frozen=True)
class Curriculum:
  """When to go on to the next lesson, and what to draw examples from.

  Attributes:
    num_lessons: Number of lessons, at least 1.
    threshold: Fraction of right episodes at which the next lesson begins, in
      (0, 1].
    interval: Number of batches between checks, at least 1.
    earlier_fraction: Fraction of the examples that are of earlier lessons, in
      [0, 1].
    max_steps_per_lesson: Number of batches after which the next lesson begins
      whatever the score, at least 1; None for no such number.
  """

  num_lessons: int
  threshold: float = 0.9
  interval: int = 100
  earlier_fraction: float = 0.1
  max_steps_per_lesson: int | None = None

  def __post_init__(self):
    at_least("num_lessons", self.num_lessons, 1)
    at_least("interval", self.interval, 1)
    if self.max_steps_per_lesson is not None:
      at_least("max_steps_per_lesson", self.max_steps_per_lesson, 1)
    if not 0 < self.threshold <= 1:
      raise ValueError(
        f"threshold must be above 0 and at most 1, got {self.threshold}. It is "
        "a fraction, not a percentage."
      )
    if not 0 <= self.earlier_fraction <= 1:
      raise ValueError(
        f"earlier_fraction must be from 0 to 1, got {self.earlier_fraction}. "
        "It is a fraction, not a percentage."
      )


class CurriculumState(NamedTuple):
  """How far a run has come. Python numbers, which JSON keeps exactly.

  Attributes:
    lesson: Current lesson, from 0.
    steps: Number of batches in this lesson so far.
    right: Episodes of this lesson that were fully right since the last check.
    count: Episodes of this lesson that were seen since the last check.
  """

  lesson: int = 0
  steps: int = 0
  right: float = 0.0
  count: float = 0.0

  def to_json(self) -> dict[str, Any]:
    """Returns the state as a dictionary that JSON can write."""
    return self._asdict()

  @classmethod
  def from_json(cls, data: Mapping[str, Any]) -> "CurriculumState":
    """Returns the state that `to_json` was called on.

    Args:
      data: What `to_json` returned, or its copy through JSON.

    Raises:
      ValueError: If ``data`` is anything else.
    """
    if not isinstance(data, Mapping) or set(data) != set(cls._fields):
      raise ValueError(
        f"data must have the fields {cls._fields} of a CurriculumState, got "
        f"{data!r}."
      )
    for name in ("lesson", "steps"):
      if not isinstance(data[name], int):
        raise ValueError(f"{name} must be an integer, got {data[name]!r}.")
      at_least(name, data[name], 0)
    for name in ("right", "count"):
      if not isinstance(data[name], int | float):
        raise ValueError(f"{name} must be a number, got {data[name]!r}.")
    right, count = _episodes(data["right"], data["count"])
    return cls(data["lesson"], data["steps"], right, count)


def observe(
  curriculum: Curriculum, state: CurriculumState, right: float, count: float
) -> CurriculumState:
  """Returns the state after one more batch.

  Every `interval` batches of a lesson, the episodes since the last check decide
  whether the next lesson begins, and are then forgotten. The last lesson never
  ends. A window without episodes of the lesson decides nothing.

  >>> curriculum = Curriculum(num_lessons=2, interval=2)
  >>> state = observe(curriculum, CurriculumState(), right=8, count=8)
  >>> state
  CurriculumState(lesson=0, steps=1, right=8.0, count=8.0)
  >>> observe(curriculum, state, right=7, count=8)
  CurriculumState(lesson=1, steps=0, right=0.0, count=0.0)

  Args:
    curriculum: The rule.
    state: State before the batch.
    right: Episodes in the batch that are of the current lesson and fully
      right, from 0 to ``count``.
    count: Episodes in the batch that are of the current lesson. Those of
      earlier lessons are not to be counted: they would flatter the score.

  Returns:
    State with which the next batch is to be drawn.

  Raises:
    ValueError: If the numbers are impossible, or the state's lesson is not in
      the curriculum.
  """
  _check_lesson(curriculum, state.lesson)
  right, count = _episodes(right, count)
  state = CurriculumState(
    state.lesson, state.steps + 1, state.right + right, state.count + count
  )
  due = state.steps % curriculum.interval == 0
  passed = (
    due
    and state.count > 0
    and (state.right / state.count >= curriculum.threshold)
  )
  limit = curriculum.max_steps_per_lesson
  over = limit is not None and state.steps >= limit
  if (passed or over) and state.lesson + 1 < curriculum.num_lessons:
    return CurriculumState(lesson=state.lesson + 1)
  if due:
    return CurriculumState(state.lesson, state.steps)
  return state


def example_lessons(
  curriculum: Curriculum,
  lesson: int,
  rng: np.random.Generator,
  batch_size: int,
) -> np.ndarray:
  """Returns the lesson that each example of a batch is to be of.

  Each is of the current lesson, or with probability `earlier_fraction` of one
  of the earlier lessons, all equally likely. In the first lesson all are of it.

  Args:
    curriculum: The rule.
    lesson: Current lesson, from 0.
    rng: Where the chances come from. As much is drawn in every lesson.
    batch_size: Number of examples B, at least 1.

  Returns:
    Lessons in [0, ``lesson``]. Shape ``[B]``, int32.

  Raises:
    ValueError: If the lesson is not in the curriculum, or ``batch_size`` is
      below 1.
  """
  _check_lesson(curriculum, lesson)
  at_least("batch_size", batch_size, 1)
  is_earlier = rng.random(batch_size) < curriculum.earlier_fraction
  earlier = rng.integers(0, max(lesson, 1), batch_size)
  if lesson == 0:
    return np.zeros(batch_size, np.int32)
  return np.where(is_earlier, earlier, lesson).astype(np.int32)


def _check_lesson(curriculum: Curriculum, lesson: int) -> None:
  """Raises a ValueError if a lesson is not in the curriculum."""
  if not 0 <= lesson < curriculum.num_lessons:
    raise ValueError(
      f"lesson must be from 0 to {curriculum.num_lessons - 1}, got {lesson}. "
      "Was the state saved with a longer curriculum?"
    )


def _episodes(right: float, count: float) -> tuple[float, float]:
  """Returns the numbers of episodes as floats, if they can be."""
  right, count = float(right), float(count)
  if not (0 <= right <= count and math.isfinite(count)):
    raise ValueError(
      f"right must be from 0 to count, got right = {right} and count = {count}."
    )
  return right, count
