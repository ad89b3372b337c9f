"""Dynamic n-grams: predict each bit of a sequence from those before it.

After Graves et al. 2014, "Neural Turing Machines", section 4.4. For every
sequence a table is drawn: for each context, the last few bits, how likely the
next bit is 1. The sequence is drawn from the table, told a bit a step, and the
bit after it is wanted. Eight bits with contexts of 2, by a table in which 01
and 10 are surely followed by 1, 00 and 11 by 0:

    step            0 1 2 3 4 5 6
    heard   bit     . 1 1 . 1 1 .
    wanted  bit     . 1 . 1 1 . 1
    scored          . 1 1 1 1 1 1

L bits take L - 1 steps, for nothing is wanted after the last. Bits without a
whole context before them are 0 or 1 with the same chance, and are not scored.
Shorter sequences of a batch are padded with zeros.

Chance decides the bits, so not even the best answer is always right: what can
be reached is a loss, not an accuracy.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from tasks.bit_task import BitTask, Drawn, check_at_least, check_range

# Both parameters of the beta distribution that the table is drawn from. The
# best estimator counts as if it had seen each bit so many times before.
_PRIOR = 0.5
_MAX_CONTEXT = 16


@dataclasses.dataclass(frozen=True)
class DynamicNGrams(BitTask):
  """Dynamic n-grams, of lengths drawn uniformly.

  The defaults are the paper's, 6-grams of 200 bits. The least loss that is
  possible on average, that of `solve`, is 128.1 bits a sequence, with 77.0 % of
  predictions right (100,000 sequences, standard error 0.1 bits). Of fewer:

  >>> from dnc_jax import losses
  >>> task = DynamicNGrams()
  >>> batch = task.sample(np.random.default_rng(0), np.zeros(1000, int))
  >>> scores = losses.bits(task.solve(batch.inputs), *batch[1:3])
  >>> print(f"{scores.loss / np.log(2):.0f} bits")
  128 bits

  Attributes:
    context: Bits that the next one depends on, in [1, 16].
    min_length: Fewest bits of a sequence, more than ``context``.
    max_length: Most bits of a sequence, at least ``min_length``.
  """

  context: int = 5
  min_length: int = 200
  max_length: int = 200

  name: ClassVar[str] = "dynamic_n_grams"
  certain: ClassVar[bool] = False

  def __post_init__(self):
    """Checks the fields.

    Raises:
      ValueError: A field is out of its range.
    """
    check_at_least("context", self.context, 1)
    if self.context > _MAX_CONTEXT:
      raise ValueError(
        f"context must be at most {_MAX_CONTEXT}, got {self.context}: the "
        "table has 2 to the power of context numbers."
      )
    if self.min_length <= self.context:
      raise ValueError(
        f"min_length must be at least context + 1 = {self.context + 1}, so "
        f"that there is a bit to predict, got {self.min_length}."
      )
    check_range("length", self.min_length, self.max_length)

  @property
  def input_size(self) -> int:
    """The bit."""
    return 1

  @property
  def output_size(self) -> int:
    """The bit after it."""
    return 1

  @property
  def longest(self) -> int:
    """The most bits but the last."""
    return self.max_length - 1

  def draw(self, rng: np.random.Generator, size: int) -> Drawn:
    """Draws tables, and bits from them; see `BitTask.draw`."""
    lengths = rng.integers(self.min_length, self.max_length + 1, size)
    table = rng.beta(_PRIOR, _PRIOR, (size, 2**self.context))
    coins = rng.random((lengths.max(), size))
    every = np.arange(size)
    bits = np.zeros(coins.shape, np.float32)
    context = np.zeros(size, int)
    for step, coin in enumerate(coins):
      chance = table[every, context] if step >= self.context else 0.5
      bits[step] = coin < chance
      context = self._next_context(context, bits[step])

    step = np.arange(len(bits) - 1)[:, None]
    heard = step < lengths - 1
    mask = heard & (step >= self.context - 1)
    return Drawn(
      (bits[:-1] * heard)[..., None],
      (bits[1:] * mask)[..., None],
      mask,
      lengths - 1,
    )

  def solve(self, inputs: np.ndarray) -> np.ndarray:
    """Returns the log odds of the best estimator.

    With N₁ ones and N₀ zeros after the same context so far,

        P(1) = (N₁ + 1/2) / (N₁ + N₀ + 1)

    Args:
      inputs: Bits. Shape ``[T, B, 1]``.

    Returns:
      log P(1) / P(0), 0 before the first whole context. Shape ``[T, B, 1]``.
    """
    num_steps, size, _ = inputs.shape
    every = np.arange(size)
    seen = np.full((size, 2**self.context, 2), _PRIOR)
    logits = np.zeros(inputs.shape, np.float32)
    context = np.zeros(size, int)
    for step in range(num_steps):
      bit = inputs[step, :, 0].astype(int)
      if step >= self.context:
        seen[every, context, bit] += 1
      context = self._next_context(context, bit)
      if step >= self.context - 1:
        zeros, ones = seen[every, context].T
        logits[step, :, 0] = np.log(ones / zeros)
    return logits

  def _next_context(self, context: np.ndarray, bit: np.ndarray) -> np.ndarray:
    """Returns contexts ``[B]`` as numbers, after a bit more of each."""
    return (2 * context + bit.astype(int)) % 2**self.context
