"""Repeat copy: say a pattern of bits again, as often as told, and end it.

DeepMind's encoding (github.com/google-deepmind/dnc). One sequence of 3 bits, a
pattern of 2 steps, to be said twice:

    step             0 1 2 3 4 5 6 7 8
    heard   bit 0    . 1 . . . . . . .
            bit 1    . 1 1 . . . . . .
            bit 2    . . 1 . . . . . .
            start    1 . . . . . . . .
            repeats  . . . 2 . . . . .    told as 2 / norm_max
    wanted  bit 0    . . . . 1 . 1 . .
            bit 1    . . . . 1 1 1 1 .
            bit 2    . . . . . 1 . 1 .
            end      . . . . . . . . 1
    scored           . . . . 1 1 1 1 1

A pattern of L steps to be said r times takes L(r + 1) + 3 steps, of which the
last Lr + 1 are scored. Shorter sequences of a batch are padded with zeros.
"""

import dataclasses
import functools
from typing import ClassVar

import numpy as np

from dnc_jax import losses
from dnc_jax.losses import Batch, Objective
from tasks.bit_task import (
  Drawn,
  SeriesTask,
  check_at_least,
  check_range,
  draw_bits,
  picture,
  said,
)


@dataclasses.dataclass(frozen=True)
class RepeatCopy(SeriesTask):
  """Repeat copy, of lengths and repeats drawn uniformly.

  The defaults are those of DeepMind's training script. Sizes of the network
  depend on ``num_bits`` alone, so one that was trained is tested on longer
  sequences by replacing the ranges:

  >>> trained = RepeatCopy()
  >>> longer = dataclasses.replace(trained, min_length=8, max_length=8)
  >>> longer.length(0), longer.input_size == trained.input_size
  (27, True)

  Attributes:
    num_bits: Bits of a step, at least 1.
    min_length: Fewest steps of a pattern, at least 1.
    max_length: Most steps of a pattern, at least ``min_length``.
    min_repeats: Fewest times to say it, at least 1.
    max_repeats: Most times to say it, at least ``min_repeats``.
    norm_max: What the number of repeats is divided by to be told, above 0. Not
      a bound: more repeats are told as more than 1.
    time_average: Divides each sequence's loss by its number of scored steps.
    min_instances: Fewest patterns of a sequence, one after the other, at least
      1. Csordás & Schmidhuber's large repeat copy has up to 8.
    max_instances: Most of them, at least ``min_instances``.
    growing: A lesson for each number of patterns; see `SeriesTask`.
  """

  num_bits: int = 4
  min_length: int = 1
  max_length: int = 2
  min_repeats: int = 1
  max_repeats: int = 2
  norm_max: float = 10
  time_average: bool = False
  min_instances: int = 1
  max_instances: int = 1
  growing: bool = False

  name: ClassVar[str] = "repeat_copy"

  def __post_init__(self):
    check_at_least("num_bits", self.num_bits, 1)
    check_range("length", self.min_length, self.max_length)
    check_range("repeats", self.min_repeats, self.max_repeats)
    if not self.norm_max > 0:
      raise ValueError(f"norm_max must be above 0, got {self.norm_max}.")
    check_range("instances", self.min_instances, self.max_instances)

  @property
  def input_size(self) -> int:
    """The bits, the start and the number of repeats."""
    return self.num_bits + 2

  @property
  def output_size(self) -> int:
    """The bits and the end."""
    return self.num_bits + 1

  @property
  def objective(self) -> Objective:
    """Cross-entropy of each bit, the end's too."""
    return functools.partial(losses.bits, time_average=self.time_average)

  @property
  def longest(self) -> int:
    """The most steps of a pattern, its repeats and the end."""
    return self.max_length * (self.max_repeats + 1) + 3

  def draw(self, rng: np.random.Generator, size: int) -> Drawn:
    """Draws patterns and repeats; see `BitTask.draw`."""
    lengths = rng.integers(self.min_length, self.max_length + 1, size)
    repeats = rng.integers(self.min_repeats, self.max_repeats + 1, size)
    bits = draw_bits(rng, self.max_length, size, self.num_bits)
    start, repeats_channel, end = self.num_bits, self.num_bits + 1, -1

    num_steps = lengths * (repeats + 1) + 3
    step, row = np.arange(num_steps.max())[:, None], np.arange(size)
    inputs = np.zeros((len(step), size, self.input_size), np.float32)
    inputs[0, :, start] = 1
    inputs[..., : self.num_bits] = said(bits, step - 1, lengths)
    inputs[lengths + 1, row, repeats_channel] = repeats / self.norm_max

    position = step - (lengths + 2)
    answering = (position >= 0) & (position < lengths * repeats)
    patterns = np.where(answering, position % lengths, -1)
    targets = np.zeros((len(step), size, self.output_size), np.float32)
    targets[..., : self.num_bits] = said(bits, patterns, lengths)
    targets[lengths * (repeats + 1) + 2, row, end] = 1
    mask = (position >= 0) & (position <= lengths * repeats)
    return Drawn(inputs, targets, mask, num_steps)

  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns each pattern as often as heard, and the end."""
    logits = np.full((*inputs.shape[:2], self.output_size), -1, np.float32)
    for row, start in np.argwhere(inputs[..., self.num_bits].T == 1):
      told = inputs[start:, row, self.num_bits + 1]
      asked = start + int((told > 0).argmax())
      repeats = round(inputs[asked, row, self.num_bits + 1] * self.norm_max)
      pattern = 2 * inputs[start + 1 : asked, row, : self.num_bits] - 1
      end = asked + 1 + len(pattern) * repeats
      logits[asked + 1 : end, row, : self.num_bits] = np.tile(
        pattern, (repeats, 1)
      )
      logits[end, row, self.num_bits] = 1
    return logits

  def render(
    self, batch: Batch, logits: np.ndarray | None = None, index: int = 0
  ) -> str:
    """Returns observations, targets and the network's output as DeepMind's.

    A line is a channel, in the order of the module's picture, between two ``+``
    signs; a step is its value, ``-`` if 0. The number of repeats is shown as it
    was before it was divided; of the output, bits likelier than not on the
    steps that are scored.
    """
    scale = np.ones(self.input_size)
    scale[-1] = self.norm_max
    return picture(batch, logits, index, scale)
