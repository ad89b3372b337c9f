"""What the tasks that tell bits and ask for bits have in common."""

import abc
from typing import NamedTuple

import numpy as np

from dnc_jax import losses
from dnc_jax.losses import Batch, Objective
from tasks.base import SequenceTask


class Drawn(NamedTuple):
  """One instance of a task for each sequence of a batch.

  Attributes:
    inputs: Shape ``[T, B, I]``.
    targets: Shape ``[T, B, O]``.
    mask: Which steps are scored. Shape ``[T, B]``.
    lengths: Steps of each; beyond them all is zero. Shape ``[B]``.
  """

  inputs: np.ndarray  # [T, B, I]
  targets: np.ndarray  # [T, B, O]
  mask: np.ndarray  # [T, B]
  lengths: np.ndarray  # [B]


class BitTask(SequenceTask):
  """A task that tells bits on some inputs and asks for bits."""

  unit = "bit"

  @property
  def objective(self) -> Objective:
    """Cross-entropy of each bit."""
    return losses.bits

  @abc.abstractmethod
  def draw(self, rng: np.random.Generator, size: int) -> Drawn:
    """Draws one instance for each sequence.

    Args:
      rng: Source of all randomness, consumed.
      size: B, sequences.
    """

  def length(self, lesson: int) -> int:
    """Returns the most steps that a sequence of this lesson can have."""
    del lesson
    return self.longest

  @property
  @abc.abstractmethod
  def longest(self) -> int:
    """The most steps that an instance can have."""

  def sample(
    self,
    rng: np.random.Generator,
    lessons: np.ndarray,
    *,
    length: int | None = None,
  ) -> Batch:
    """Draws sequences; see `SequenceTask.sample`."""
    drawn = self.draw(rng, len(lessons))
    num_steps = padded_length(drawn.lengths, length)
    missing = num_steps - len(drawn.inputs)

    def pad(array: np.ndarray) -> np.ndarray:
      widths = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
      return np.pad(array, widths).astype(np.float32)

    return Batch(
      pad(drawn.inputs),
      pad(drawn.targets),
      pad(drawn.mask),
      np.asarray(lessons, np.int32),
    )

  def render(
    self, batch: Batch, logits: np.ndarray | None = None, index: int = 0
  ) -> str:
    """Returns a picture in the format of `RepeatCopy.render`."""
    return picture(batch, logits, index, np.ones(self.input_size))


class SeriesTask(BitTask):
  """A task of which a sequence can have several instances, one by one.

  Each begins on the step after the last that is scored of the one before.

  Attributes:
    min_instances: Fewest instances of a sequence, at least 1.
    max_instances: Most instances, at least ``min_instances``.
    growing: Gives a lesson to each number of instances, from fewest to most;
      else it is drawn uniformly.
  """

  min_instances: int
  max_instances: int
  growing: bool

  @property
  def num_lessons(self) -> int:
    """One; with ``growing``, one for each number of instances."""
    if not self.growing:
      return 1
    return self.max_instances - self.min_instances + 1

  def length(self, lesson: int) -> int:
    """Returns the most steps that a sequence of this lesson can have."""
    most = self.min_instances + lesson if self.growing else self.max_instances
    return most * self.longest

  def sample(
    self,
    rng: np.random.Generator,
    lessons: np.ndarray,
    *,
    length: int | None = None,
  ) -> Batch:
    """Draws series of instances; see `SequenceTask.sample`."""
    size = len(lessons)
    if self.growing:
      counts = self.min_instances + np.asarray(lessons)
    elif self.max_instances == 1:
      return super().sample(rng, lessons, length=length)
    else:
      counts = rng.integers(self.min_instances, self.max_instances + 1, size)
    series = [self.draw(rng, size) for _ in range(counts.max())]
    begins = np.cumsum(
      [np.zeros(size, int)]
      + [x.lengths * (k < counts) for k, x in enumerate(series)],
      axis=0,
    )
    num_steps = padded_length(begins[-1], length)
    inputs = np.zeros((num_steps, size, self.input_size), np.float32)
    targets = np.zeros((num_steps, size, self.output_size), np.float32)
    mask = np.zeros((num_steps, size), np.float32)
    for k, drawn in enumerate(series):
      there = np.arange(len(drawn.inputs))[:, None] < drawn.lengths
      step, row = np.nonzero(there & (k < counts))
      for whole, part in zip((inputs, targets, mask), drawn[:3], strict=True):
        whole[begins[k, row] + step, row] = part[step, row]
    return Batch(inputs, targets, mask, np.asarray(lessons, np.int32))


def check_at_least(name: str, value: int, bound: int) -> None:
  """Raises ValueError if a value is below its bound."""
  if value < bound:
    raise ValueError(f"{name} must be at least {bound}, got {value}.")


def check_range(name: str, least: int, most: int) -> None:
  """Raises ValueError if a range begins below 1 or ends before it begins."""
  check_at_least(f"min_{name}", least, 1)
  if most < least:
    raise ValueError(
      f"max_{name} must be at least min_{name} = {least}, got {most}."
    )


def draw_bits(
  rng: np.random.Generator, max_length: int, batch_size: int, num_bits: int
) -> np.ndarray:
  """Returns random bits ``[max_length, B, num_bits]``."""
  return rng.integers(0, 2, (max_length, batch_size, num_bits), np.int8)


def draw_different(
  rng: np.random.Generator, size: int, count: int, shape: tuple[int, ...]
) -> np.ndarray:
  """Returns random patterns of bits, no two of a sequence the same.

  Args:
    rng: Source of all randomness, consumed.
    size: B, sequences.
    count: Patterns of each, no more than there are different ones.
    shape: Shape of a pattern.

  Returns:
    Shape ``[B, count, *shape]``.
  """
  patterns = rng.integers(0, 2, (size, count, *shape), np.int8)
  while True:
    codes = patterns.reshape(size, count, -1)
    same = (codes[:, :, None] == codes[:, None]).all(axis=-1)
    # What is like one before it is drawn again, alone.
    again = np.tril(same, -1).any(axis=2)
    if not again.any():
      return patterns
    patterns[again] = rng.integers(0, 2, (again.sum(), *shape), np.int8)


def padded_length(lengths: np.ndarray, length: int | None) -> int:
  """Returns the steps of a batch.

  Args:
    lengths: Steps of each sequence. Shape ``[B]``.
    length: Steps asked for, or None for those of the longest.

  Raises:
    ValueError: ``length`` is too short for a sequence.
  """
  longest = int(lengths.max())
  if length is None:
    return longest
  if length < longest:
    raise ValueError(
      f"length must be at least the {longest} steps of the longest sequence, "
      f"got {length}."
    )
  return length


def said(
  bits: np.ndarray, positions: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
  """Returns which bits each step says.

  Args:
    bits: Shape ``[L, B, num_bits]``, of which each pattern has its first.
    positions: Which step of the pattern is said; nothing if it has no such
      step. Broadcasts to ``[T, B]``.
    lengths: Steps of each pattern. Shape ``[B]``.

  Returns:
    Shape ``[T, B, num_bits]``.
  """
  exists = (positions >= 0) & (positions < lengths)
  row = np.arange(len(lengths))
  return bits[np.where(exists, positions, 0), row] * exists[..., None]


def picture(
  batch: Batch,
  logits: np.ndarray | None,
  index: int,
  scale: np.ndarray,
) -> str:
  """Returns one sequence of bits without its padding; see `RepeatCopy.render`.

  Args:
    batch: As a task gives it.
    logits: The network's answer, or None. Shape ``[T, B, O]``.
    index: Which sequence of the batch.
    scale: What to multiply each input by. Shape ``[I]``.
  """
  mask = np.asarray(batch.mask)[:, index]
  end = int(np.flatnonzero(mask).max(initial=-1)) + 1
  blocks = [
    ("Observations:", np.asarray(batch.inputs)[:end, index] * scale),
    ("Targets:", np.asarray(batch.targets)[:end, index]),
  ]
  if logits is not None:
    likelier = np.asarray(logits)[:end, index] > 0
    blocks.append(("Model Output:", likelier * mask[:end, None]))
  blocks = [(title, np.rint(values).astype(int)) for title, values in blocks]
  # So that steps stay in line where numbers have several digits.
  width = max(len(str(values.max())) for _, values in blocks)
  lines = []
  for title, values in blocks:
    lines.append(title)
    for channel in values.T:
      steps = ("-" if value == 0 else str(value) for value in channel)
      lines.append(f"+{' '.join(step.rjust(width) for step in steps)}+")
  return "\n".join(lines)
