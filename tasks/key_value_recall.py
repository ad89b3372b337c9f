"""Key-value recall: told a key again, say the value that it came with.

After Csordás & Schmidhuber 2019, "Improving Differentiable Neural Computers
Through Memory Masking, De-allocation, and Link Distribution Sharpness Control",
whose code has it. Pairs of a key and a value, both vectors of bits, are told
side by side, a pair a step. After a flag each key is told again, in another
order, and its value is wanted on the same step. Two pairs of 2 bits each, of
which the second is asked for first:

    step            0 1 2 3 4
    heard   key 0   . 1 . 1 .
            key 1   1 . . . 1
            value 0 1 1 . . .
            value 1 . 1 . . .
            by key  . . 1 . .
    wanted  bit 0   . . . 1 1
            bit 1   . . . 1 .
    scored          . . . 1 1

n pairs take n steps, the flag one, and the answers, which are what is scored,
n. Asked both ways, a second flag follows and then each value, in an order of
its own and on the channels of keys, so that the flag alone tells which it is;
its key is wanted, with n + 1 steps more. Keys of a sequence differ; asked both
ways, values do as well. Shorter sequences of a batch are padded with zeros.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from tasks.bit_task import (
  BitTask,
  Drawn,
  check_at_least,
  check_range,
  draw_bits,
  draw_different,
  said,
)


@dataclasses.dataclass(frozen=True)
class KeyValueRecall(BitTask):
  """Key-value recall, of numbers of pairs drawn uniformly.

  The defaults are those of the authors' code. Sizes of the network depend on
  ``num_bits`` and ``two_way`` alone, so one that was trained is tested on more
  pairs by replacing the range:

  >>> dataclasses.replace(KeyValueRecall(), max_items=40).length(0)
  81

  Attributes:
    num_bits: Bits of a key and of a value, at least 1.
    min_items: Fewest pairs, at least 1.
    max_items: Most pairs, at least ``min_items`` and no more than there are
      different keys.
    two_way: Asks for the key of each value, too.
  """

  num_bits: int = 6
  min_items: int = 2
  max_items: int = 16
  two_way: bool = False

  name: ClassVar[str] = "key_value_recall"

  def __post_init__(self):
    """Checks the fields.

    Raises:
      ValueError: A field is out of its range.
    """
    check_at_least("num_bits", self.num_bits, 1)
    check_range("items", self.min_items, self.max_items)
    kinds = 2**self.num_bits
    if self.max_items > kinds:
      raise ValueError(
        f"max_items must be at most {kinds}, as many as there are keys of "
        f"{self.num_bits} bits, got {self.max_items}."
      )

  @property
  def input_size(self) -> int:
    """Key, value, and a flag for each way of asking."""
    return 2 * self.num_bits + self._num_ways

  @property
  def output_size(self) -> int:
    """The bits of a value or a key."""
    return self.num_bits

  @property
  def longest(self) -> int:
    """The most steps of pairs, flags and answers."""
    return (1 + self._num_ways) * (self.max_items + 1) - 1

  def draw(self, rng: np.random.Generator, size: int) -> Drawn:
    """Draws pairs and the order of questions; see `BitTask.draw`."""
    most, num_bits, every = self.max_items, self.num_bits, np.arange(size)
    counts = rng.integers(self.min_items, most + 1, size)
    keys = draw_different(rng, size, most, (num_bits,)).swapaxes(0, 1)
    if self.two_way:
      values = draw_different(rng, size, most, (num_bits,)).swapaxes(0, 1)
    else:
      values = draw_bits(rng, most, size, num_bits)

    num_steps = (1 + self._num_ways) * (counts + 1) - 1
    step = np.arange(num_steps.max())[:, None]
    inputs = np.zeros((len(step), size, self.input_size), np.float32)
    targets = np.zeros((len(step), size, num_bits), np.float32)
    mask = np.zeros((len(step), size), bool)
    inputs[..., :num_bits] = said(keys, step, counts)
    inputs[..., num_bits : 2 * num_bits] = said(values, step, counts)
    ways = ((keys, values), (values, keys))[: self._num_ways]
    for way, (told, wanted) in enumerate(ways):
      flag = (1 + way) * (counts + 1) - 1
      position = step - (flag + 1)
      order = _orders(rng, counts, most)
      inputs[flag, every, 2 * num_bits + way] = 1
      inputs[..., :num_bits] += said(told[order, every], position, counts)
      targets += said(wanted[order, every], position, counts)
      mask |= (position >= 0) & (position < counts)
    return Drawn(inputs, targets, mask, num_steps)

  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns, after each flag, what came with each vector told again."""
    num_bits = self.num_bits
    logits = np.full((*inputs.shape[:2], num_bits), -1, np.float32)
    for row in range(inputs.shape[1]):
      heard = inputs[:, row]
      flags = heard[:, 2 * num_bits :].argmax(axis=0)
      count = flags[0]
      keys = heard[:count, :num_bits]
      values = heard[:count, num_bits : 2 * num_bits]
      ways = ((keys, values), (values, keys))
      for flag, (told, wanted) in zip(flags, ways, strict=False):
        answers = slice(flag + 1, flag + 1 + count)
        asked = heard[answers, None, :num_bits]
        found = (asked == told).all(axis=-1).argmax(axis=1)
        logits[answers, row] = 2 * wanted[found] - 1
    return logits

  @property
  def _num_ways(self) -> int:
    """Ways of asking: by key, or also by value."""
    return 2 if self.two_way else 1


def _orders(
  rng: np.random.Generator, counts: np.ndarray, most: int
) -> np.ndarray:
  """Returns for each sequence its pairs in random order, then the others.

  Args:
    rng: Source of all randomness, consumed.
    counts: Pairs of each sequence, in [1, most]. Shape ``[B]``.
    most: Pairs that are drawn.

  Returns:
    Numbers of pairs. Shape ``[most, B]``.
  """
  places = rng.random((most, len(counts)))
  places[np.arange(most)[:, None] >= counts] = 1  # Beyond all in [0, 1).
  return places.argsort(axis=0)
