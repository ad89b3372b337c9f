"""Priority sort: say vectors again, those of high priority first.

After Graves et al. 2014, "Neural Turing Machines", section 4.5. Vectors of bits
are told, each with a priority, a number in [-1, 1] on a channel of its own;
after a flag those of highest priority are wanted, from the highest down. Three
vectors of 2 bits, of which two are kept:

    step             0    1    2    3    4    5
    heard   bit 0    .    1    1    .    .    .
            bit 1    1    1    .    .    .    .
            priority 0.4 -0.8  0.7  .    .    .
            end      .    .    .    1    .    .
    wanted  bit 0    .    .    .    .    1    .
            bit 1    .    .    .    .    .    1
    scored           .    .    .    .    1    1

n vectors of which k are kept take n + 1 + k steps, of which the last k are
scored. Shorter sequences of a batch are padded with zeros.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from dnc_jax.losses import Batch
from tasks.bit_task import (
  BitTask,
  Drawn,
  check_at_least,
  check_range,
  draw_bits,
  said,
)


@dataclasses.dataclass(frozen=True)
class PrioritySort(BitTask):
  """Priority sort, of numbers of vectors drawn uniformly.

  The defaults are the paper's. Sizes of the network depend on ``num_bits``
  alone, so one that was trained is tested on more vectors by replacing the
  range, and ``num_kept``:

  >>> dataclasses.replace(PrioritySort(), max_items=40, num_kept=32).length(0)
  73

  Attributes:
    num_bits: Bits of a vector, at least 1.
    min_items: Fewest vectors, at least 1.
    max_items: Most vectors, at least ``min_items``.
    num_kept: Vectors wanted, at least 1; all of them where there are fewer.
  """

  num_bits: int = 8
  min_items: int = 20
  max_items: int = 20
  num_kept: int = 16

  name: ClassVar[str] = "priority_sort"

  def __post_init__(self):
    check_at_least("num_bits", self.num_bits, 1)
    check_range("items", self.min_items, self.max_items)
    check_at_least("num_kept", self.num_kept, 1)

  @property
  def input_size(self) -> int:
    """The bits, the priority and the end."""
    return self.num_bits + 2

  @property
  def output_size(self) -> int:
    """The bits."""
    return self.num_bits

  @property
  def longest(self) -> int:
    """The most steps of vectors, flag and answer."""
    return self.max_items + 1 + min(self.num_kept, self.max_items)

  def draw(self, rng: np.random.Generator, size: int) -> Drawn:
    """Draws vectors and priorities; see `BitTask.draw`."""
    most, every = self.max_items, np.arange(size)
    counts = rng.integers(self.min_items, most + 1, size)
    bits = draw_bits(rng, most, size, self.num_bits)
    # Rounded before they are sorted: what is heard decides.
    priorities = rng.uniform(-1, 1, (most, size)).astype(np.float32)

    kept = np.minimum(self.num_kept, counts)
    num_steps = counts + 1 + kept
    step = np.arange(num_steps.max())[:, None]
    inputs = np.zeros((len(step), size, self.input_size), np.float32)
    inputs[..., : self.num_bits] = said(bits, step, counts)
    inputs[..., self.num_bits] = said(priorities[..., None], step, counts)[
      ..., 0
    ]
    inputs[counts, every, self.num_bits + 1] = 1

    there = np.arange(most)[:, None] < counts
    order = _highest_first(np.where(there, priorities, -np.inf))
    position = step - (counts + 1)
    targets = said(bits[order, every], position, kept).astype(np.float32)
    mask = (position >= 0) & (position < kept)
    return Drawn(inputs, targets, mask, num_steps)

  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns what was heard before the end, sorted, after the end."""
    logits = np.full((*inputs.shape[:2], self.output_size), -1, np.float32)
    for row in range(inputs.shape[1]):
      end = int(inputs[:, row, self.num_bits + 1].argmax())
      order = _highest_first(inputs[:end, row, self.num_bits])
      answer = inputs[order[: self.num_kept], row, : self.num_bits]
      logits[end + 1 : end + 1 + len(answer), row] = 2 * answer - 1
    return logits

  def render(
    self, batch: Batch, logits: np.ndarray | None = None, index: int = 0
  ) -> str:
    """Returns the picture of `BitTask.render`, with ranks for priorities.

    The rank of the vector of highest priority is 1.
    """
    inputs = np.array(batch.inputs)
    end = int(inputs[:, index, self.num_bits + 1].argmax())
    order = _highest_first(inputs[:end, index, self.num_bits])
    inputs[order, index, self.num_bits] = 1 + np.arange(end)
    return super().render(batch._replace(inputs=inputs), logits, index)


def _highest_first(priorities: np.ndarray) -> np.ndarray:
  """Returns the order of priorities along axis 0, the first of equals first."""
  return np.argsort(-priorities, axis=0, kind="stable")
