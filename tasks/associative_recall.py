"""Associative recall: told an item again, say the one that followed it.

After Graves et al. 2014, "Neural Turing Machines", section 4.3. An item is a
few vectors of bits, announced by a delimiter; after the last item one of the
others is told again, between delimiters of another kind, and the item after it
is wanted. Three items of 2 vectors of 2 bits, asked for what came after the
first:

    step           0 1 2 3 4 5 6 7 8 9 A B C D E
    heard   bit 0  . 1 . . 1 1 . . 1 . 1 . . . .
            bit 1  . . 1 . 1 . . . . . . 1 . . .
            item   1 . . 1 . . 1 . . . . . . . .
            query  . . . . . . . . . 1 . . 1 . .
    wanted  bit 0  . . . . . . . . . . . . . 1 1
            bit 1  . . . . . . . . . . . . . 1 .
    scored         . . . . . . . . . . . . . 1 1

n items of V vectors take n(V + 1) steps, the query V + 2, and the answer, which
is what is scored, V. Items of a sequence differ. Shorter sequences of a batch
are padded with zeros.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from tasks.bit_task import (
  BitTask,
  Drawn,
  check_at_least,
  check_range,
  draw_different,
)


@dataclasses.dataclass(frozen=True)
class AssociativeRecall(BitTask):
  """Associative recall, of numbers of items drawn uniformly.

  The defaults are the paper's. Sizes of the network depend on ``num_bits``
  alone, so one that was trained is tested on more items by replacing the range.

  Attributes:
    num_bits: Bits of a vector, at least 1.
    item_length: V, vectors of an item, at least 1.
    min_items: Fewest items, at least 2.
    max_items: Most items, at least ``min_items`` and no more than there are
      different ones.
  """

  num_bits: int = 6
  item_length: int = 3
  min_items: int = 2
  max_items: int = 6

  name: ClassVar[str] = "associative_recall"

  def __post_init__(self):
    """Checks the fields.

    Raises:
      ValueError: A field is out of its range.
    """
    check_at_least("num_bits", self.num_bits, 1)
    check_at_least("item_length", self.item_length, 1)
    check_at_least("min_items", self.min_items, 2)
    check_range("items", self.min_items, self.max_items)
    kinds = 2 ** (self.num_bits * self.item_length)
    if self.max_items > kinds:
      raise ValueError(
        f"max_items must be at most {kinds}, as many as there are items of "
        f"{self.item_length} vectors of {self.num_bits} bits, got "
        f"{self.max_items}."
      )

  @property
  def input_size(self) -> int:
    """The bits, the delimiter of items and that of the query."""
    return self.num_bits + 2

  @property
  def output_size(self) -> int:
    """The bits."""
    return self.num_bits

  @property
  def longest(self) -> int:
    """The most steps of items, query and answer."""
    return int(self._steps(np.array(self.max_items)))

  def draw(self, rng: np.random.Generator, size: int) -> Drawn:
    """Draws items and a query; see `BitTask.draw`."""
    every = np.arange(size)
    counts = rng.integers(self.min_items, self.max_items + 1, size)
    items = draw_different(
      rng, size, self.max_items, (self.item_length, self.num_bits)
    )
    asked = rng.integers(0, counts - 1)

    num_steps = self._steps(counts)
    inputs = np.zeros((num_steps.max(), size, self.input_size), np.float32)
    targets = np.zeros((*inputs.shape[:2], self.num_bits), np.float32)
    mask = np.zeros(inputs.shape[:2], np.float32)
    item_channel, query_channel = self.num_bits, self.num_bits + 1
    for item in range(self.max_items):
      rows = every[item < counts]
      begin = item * (self.item_length + 1)
      inputs[begin, rows, item_channel] = 1
      for step in range(self.item_length):
        inputs[begin + 1 + step, rows, : self.num_bits] = items[
          rows, item, step
        ]
    query = counts * (self.item_length + 1)
    answer = query + self.item_length + 2
    inputs[query, every, query_channel] = 1
    inputs[answer - 1, every, query_channel] = 1
    for step in range(self.item_length):
      inputs[query + 1 + step, every, : self.num_bits] = items[
        every, asked, step
      ]
      targets[answer + step, every] = items[every, asked + 1, step]
      mask[answer + step, every] = 1
    return Drawn(inputs, targets, mask, num_steps)

  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns the item after the one that is told again."""
    logits = np.full((*inputs.shape[:2], self.output_size), -1, np.float32)
    for row in range(inputs.shape[1]):
      bits = inputs[:, row, : self.num_bits]
      begins = np.flatnonzero(inputs[:, row, self.num_bits])
      items = [bits[x + 1 : x + 1 + self.item_length] for x in begins]
      query, end = np.flatnonzero(inputs[:, row, self.num_bits + 1])
      told = bits[query + 1 : end]
      (found,) = (
        index for index, item in enumerate(items) if (item == told).all()
      )
      answer = slice(end + 1, end + 1 + self.item_length)
      logits[answer, row] = 2 * items[found + 1] - 1
    return logits

  def _steps(self, counts: np.ndarray) -> np.ndarray:
    """Returns the steps of sequences of so many items."""
    return counts * (self.item_length + 1) + 2 * self.item_length + 2
