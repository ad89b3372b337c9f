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

A pattern of L steps takes 2L + 2 steps, of which the last L are scored. A
sequence can have several patterns, each after the answer to the one before, as
in Graves et al. 2016, Extended Data Fig. 1: ten patterns of five steps, each
said again right after it is told, with ten slots. Shorter sequences of a batch
are padded with zeros.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from tasks.bit_task import (
  Drawn,
  SeriesTask,
  check_at_least,
  check_range,
  draw_bits,
  said,
)


@dataclasses.dataclass(frozen=True)
class Copy(SeriesTask):
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
    min_instances: Fewest patterns of a sequence, at least 1.
    max_instances: Most patterns of a sequence, at least ``min_instances``.
    growing: A lesson for each number of patterns; see `SeriesTask`.
  """

  num_bits: int = 8
  min_length: int = 1
  max_length: int = 20
  min_instances: int = 1
  max_instances: int = 1
  growing: bool = False

  name: ClassVar[str] = "copy"

  def __post_init__(self):
    check_at_least("num_bits", self.num_bits, 1)
    check_range("length", self.min_length, self.max_length)
    check_range("instances", self.min_instances, self.max_instances)

  @property
  def input_size(self) -> int:
    """The bits, the start and the end of the pattern."""
    return self.num_bits + 2

  @property
  def output_size(self) -> int:
    """The bits."""
    return self.num_bits

  @property
  def longest(self) -> int:
    """The most steps of a pattern, told and said again."""
    return 2 * self.max_length + 2

  def draw(self, rng: np.random.Generator, size: int) -> Drawn:
    """Draws patterns; see `BitTask.draw`."""
    lengths = rng.integers(self.min_length, self.max_length + 1, size)
    bits = draw_bits(rng, self.max_length, size, self.num_bits)
    start, end = self.num_bits, self.num_bits + 1

    num_steps = 2 * lengths + 2
    step = np.arange(num_steps.max())[:, None]
    inputs = np.zeros((len(step), size, self.input_size), np.float32)
    inputs[0, :, start] = 1
    inputs[..., : self.num_bits] = said(bits, step - 1, lengths)
    inputs[lengths + 1, np.arange(size), end] = 1

    position = step - (lengths + 2)
    targets = said(bits, position, lengths).astype(np.float32)
    mask = (position >= 0) & (position < lengths)
    return Drawn(inputs, targets, mask, num_steps)

  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns what was heard between each start and end, after the end."""
    logits = np.full((*inputs.shape[:2], self.output_size), -1, np.float32)
    for row, start in np.argwhere(inputs[..., self.num_bits].T == 1):
      end = start + int(inputs[start:, row, self.num_bits + 1].argmax())
      pattern = 2 * inputs[start + 1 : end, row, : self.num_bits] - 1
      logits[end + 1 : end + 1 + len(pattern), row] = pattern
    return logits
