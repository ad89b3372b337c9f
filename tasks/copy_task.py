"""Copy: say a pattern of bits again.

After Graves et al. 2014, "Neural Turing Machines", section 4.1. One sequence of
3 bits and a pattern of 2 steps:

    step           0 1 2 3 4 5
    heard   bit 0  . 1 . . . .
            bit 1  . 1 1 . . .
            bit 2  . . 1 . . .
            start  1 . . . . .
            end    . . . 1 . .
    wanted  bit 0  . . . . 1 .
            bit 1  . . . . 1 1
            bit 2  . . . . . 1
    scored         . . . . 1 1

A pattern of L steps takes 2L + 2 steps, of which the last L are scored. Shorter
sequences of a batch are padded with zeros.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from dnc_jax import losses
from dnc_jax.losses import Batch, Objective
from tasks import repeat_copy
from tasks.base import SequenceTask


@dataclasses.dataclass(frozen=True)
class Copy(SequenceTask):
  """Copy, of lengths drawn uniformly.

  The defaults are the paper's. Sizes of the network depend on ``num_bits``
  alone, so one that was trained is tested on longer patterns by replacing the
  range:

  >>> dataclasses.replace(Copy(), min_length=120, max_length=120).length(0)
  242

  Attributes:
    num_bits: Bits of a step, at least 1.
    min_length: Fewest steps of a pattern, at least 1.
    max_length: Most steps of a pattern, at least ``min_length``.
  """

  num_bits: int = 8
  min_length: int = 1
  max_length: int = 20

  name: ClassVar[str] = "copy"
  unit: ClassVar[str] = "bit"

  def __post_init__(self):
    repeat_copy.check_at_least("num_bits", self.num_bits, 1)
    repeat_copy.check_range("length", self.min_length, self.max_length)

  @property
  def input_size(self) -> int:
    """The bits, the start and the end of the pattern."""
    return self.num_bits + 2

  @property
  def output_size(self) -> int:
    """The bits."""
    return self.num_bits

  @property
  def objective(self) -> Objective:
    """Cross-entropy of each bit."""
    return losses.bits

  def length(self, lesson: int) -> int:
    """Returns the most steps that a sequence can have."""
    del lesson  # There is one.
    return 2 * self.max_length + 2

  def sample(
    self,
    rng: np.random.Generator,
    lessons: np.ndarray,
    *,
    length: int | None = None,
  ) -> Batch:
    """Draws patterns; see `SequenceTask.sample`."""
    size = len(lessons)
    lengths = rng.integers(self.min_length, self.max_length + 1, size)
    bits = repeat_copy.draw_bits(rng, self.max_length, size, self.num_bits)
    start, end = self.num_bits, self.num_bits + 1

    num_steps = repeat_copy.padded_length(2 * lengths + 2, length)
    step = np.arange(num_steps)[:, None]
    inputs = np.zeros((num_steps, size, self.input_size), np.float32)
    inputs[0, :, start] = 1
    inputs[..., : self.num_bits] = repeat_copy.said(bits, step - 1, lengths)
    inputs[lengths + 1, np.arange(size), end] = 1

    position = step - (lengths + 2)
    targets = repeat_copy.said(bits, position, lengths).astype(np.float32)
    mask = (position >= 0) & (position < lengths)
    return Batch(
      inputs, targets, mask.astype(np.float32), np.asarray(lessons, np.int32)
    )

  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns what was heard between the start and the end, after the end."""
    logits = np.full((*inputs.shape[:2], self.output_size), -1, np.float32)
    for row in range(inputs.shape[1]):
      end = int(inputs[:, row, self.num_bits + 1].argmax())
      pattern = 2 * inputs[1:end, row, : self.num_bits] - 1
      logits[end + 1 : end + 1 + len(pattern), row] = pattern
    return logits

  def render(
    self, batch: Batch, logits: np.ndarray | None = None, index: int = 0
  ) -> str:
    """Returns a picture in the format of `RepeatCopy.render`."""
    return repeat_copy.picture(batch, logits, index, np.ones(self.input_size))
