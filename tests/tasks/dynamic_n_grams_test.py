"""Tests of dynamic n-grams."""

import collections
import fractions
import itertools
import math

import hypothesis
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from tasks.dynamic_n_grams import DynamicNGrams

HYPOTHESIS = hypothesis.settings(
  max_examples=50, deadline=None, derandomize=True, database=None
)
HALF = fractions.Fraction(1, 2)


def draw(task, size=1, seed=0, length=None):
  return task.sample(
    np.random.default_rng(seed), np.zeros(size, int), length=length
  )


def estimate(bits, context, prior=HALF):
  """Returns how likely 1 is after bits, told one by one: equation (10)."""
  ones = zeros = prior
  now = bits[len(bits) - context :]
  for end in range(context, len(bits)):
    if bits[end - context : end] == now:
      ones, zeros = ones + bits[end], zeros + 1 - bits[end]
  return ones / (ones + zeros)


def log_odds(bits, context, prior):
  """Returns the estimate's log odds, of batches. Shapes ``[T, B]``."""
  logits = np.zeros(bits.shape)
  for row, sequence in enumerate(bits.T.astype(int)):
    seen = collections.defaultdict(lambda: [prior, prior])
    for step in range(len(sequence)):
      if step >= context:
        seen[tuple(sequence[step - context : step])][sequence[step]] += 1
      zeros, ones = seen[tuple(sequence[step + 1 - context : step + 1])]
      logits[step, row] = math.log(ones / zeros)
  return logits


def mean_loss(batch, logits):
  """Returns bits a sequence."""
  losses = np.logaddexp(0, logits) - batch.targets[..., 0] * logits
  return (losses * batch.mask).sum(axis=0).mean() / math.log(2)


class Scripted(np.random.Generator):
  """A generator whose tables and first coins are those that it was given."""

  def __init__(self, table, coins):
    super().__init__(np.random.PCG64(0))
    self.table = np.array(table)[None]
    self.coins = coins

  def beta(self, a, b, size=None):
    assert (a, b, size) == (0.5, 0.5, self.table.shape)
    return self.table

  def random(self, size=None, *args, **kwargs):  # noqa: ARG002
    assert size is not None
    coins = np.full(size, 0.5)
    coins[: len(self.coins), 0] = self.coins
    return coins


class DynamicNGramsTest(parameterized.TestCase):
  def test_drawn_by_hand(self):
    # The module's picture: 1 after 01 and 10, else 0.
    task = DynamicNGrams(context=2, min_length=8, max_length=8)
    rng = Scripted([0, 1, 1, 0], [0.5, 0.49])
    batch = task.sample(rng, np.zeros(1, int), length=9)
    np.testing.assert_array_equal(
      batch.inputs[:, 0, 0], [0, 1, 1, 0, 1, 1, 0, 0, 0]
    )
    np.testing.assert_array_equal(
      batch.targets[:, 0, 0], [0, 1, 0, 1, 1, 0, 1, 0, 0]
    )
    np.testing.assert_array_equal(batch.mask[:, 0], [0, 1, 1, 1, 1, 1, 1, 0, 0])
    self.assertEqual(
      task.render(batch, -task.solve(np.asarray(batch.inputs))),
      """\
Observations:
+- 1 1 - 1 1 -+
Targets:
+- 1 - 1 1 - 1+
Model Output:
+- - - - - 1 -+""",
    )

  def test_a_context_is_read_from_the_oldest_bit(self):
    # 1 after 01 alone: were contexts read backwards, 10 would come back to 1.
    task = DynamicNGrams(context=2, min_length=6, max_length=6)
    rng = Scripted([0, 1, 0, 0], [0.9, 0.1])
    batch = task.sample(rng, np.zeros(1, int))
    np.testing.assert_array_equal(batch.inputs[:, 0, 0], [0, 1, 1, 0, 0])

  @HYPOTHESIS
  @hypothesis.given(
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(0, 20),
    st.integers(0, 2**32 - 1),
  )
  def test_the_next_bit_is_wanted_and_best_predicted(
    self, context, least, more, seed
  ):
    least += context
    task = DynamicNGrams(context, least, least + more)
    batch = draw(task, 4, seed)
    self.assertLessEqual(len(batch.inputs), task.length(0))
    logits = task.solve(np.asarray(batch.inputs))
    for row in range(4):
      heard = batch.inputs[:, row, 0].astype(int).tolist()
      scored = np.flatnonzero(batch.mask[:, row])
      self.assertEqual(scored[0], context - 1)
      self.assertBetween(scored[-1] + 2, least, least + more)
      np.testing.assert_array_equal(np.diff(scored), 1)
      self.assertFalse(any(heard[scored[-1] + 1 :]))
      wanted = batch.targets[scored, row, 0]
      self.assertEqual(
        heard[context : scored[-1] + 1], wanted[:-1].astype(int).tolist()
      )
      for step in scored:
        chance = estimate(heard[: step + 1], context)
        self.assertAlmostEqual(
          1 / (1 + math.exp(-logits[step, row, 0])), float(chance), places=6
        )

  def test_lengths_are_drawn_equally(self):
    scored = draw(DynamicNGrams(2, 4, 7), 4000).mask.sum(axis=0).astype(int)
    counts = np.bincount(scored, minlength=6)
    np.testing.assert_allclose(
      counts, [0, 0, 1000, 1000, 1000, 1000], rtol=0.15
    )

  def test_sequences_are_as_likely_as_the_estimator_says(self):
    # The product of its estimates is the chance of a sequence, exactly.
    task = DynamicNGrams(context=1, min_length=5, max_length=5)
    batch = draw(task, 40_000)
    bits = np.concatenate([batch.inputs[..., 0], batch.targets[-1:, :, 0]])
    codes = (2 ** np.arange(5) @ bits).astype(int)
    found = np.bincount(codes, minlength=32) / 40_000
    expected = np.zeros(32)
    for sequence in itertools.product((0, 1), repeat=5):
      chance = HALF
      for end in range(1, 5):
        one = estimate(list(sequence[:end]), 1)
        chance *= one if sequence[end] else 1 - one
      expected[sum(bit << i for i, bit in enumerate(sequence))] = chance
    self.assertEqual(expected.sum(), 1)
    np.testing.assert_allclose(found, expected, atol=0.006)

  def test_nobody_predicts_better(self):
    task = DynamicNGrams()
    batch = draw(task, 400)
    bits = batch.inputs[..., 0]
    least = mean_loss(batch, task.solve(np.asarray(batch.inputs))[..., 0])
    # All but itself, which is near for the same reason: it is slow and plain.
    self.assertAlmostEqual(
      mean_loss(batch, log_odds(bits, 5, 0.5)), least, places=3
    )
    self.assertBetween(least, 123, 133)
    others = {"knows_nothing": np.zeros(bits.shape)}
    for context in (0, 3, 4, 6, 7):
      others[f"context_{context}"] = log_odds(bits, context, 0.5)
    for prior in (0.25, 1.0):
      others[f"prior_{prior}"] = log_odds(bits, 5, prior)
    for name, logits in others.items():
      with self.subTest(name):
        self.assertGreater(mean_loss(batch, logits), least + 0.5)

  @parameterized.named_parameters(
    ("no_context", {"context": 0}, "context must be at least 1, got 0"),
    (
      "large_context",
      {"context": 17},
      "context must be at most 16, got 17: the table has 2 to the power of",
    ),
    (
      "nothing_to_predict",
      {"min_length": 5},
      r"min_length must be at least context \+ 1 = 6, so .*, got 5",
    ),
    (
      "range",
      {"min_length": 201},
      "max_length must be at least min_length = 201, got 200",
    ),
  )
  def test_impossible_sizes_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      DynamicNGrams(**options)


if __name__ == "__main__":
  absltest.main()
