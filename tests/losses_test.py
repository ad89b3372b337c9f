"""Tests of losses and accuracies, against values worked out by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import losses
from tests.float64 import Float64TestCase

LN2, LN3, LN4 = (math.log(x) for x in (2, 3, 4))

OBJECTIVES = (
  ("bits", losses.bits),
  ("bits_time_average", functools.partial(losses.bits, time_average=True)),
  ("digits", functools.partial(losses.digits, base=3)),
)


def one_hot(digits, base):
  return np.eye(base)[np.array(digits)].reshape(*np.shape(digits)[:-1], -1)


class BitsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    # Sequence 0 has 2 scored steps of 2 bits, sequence 1 has 1.
    ("sum", False, (4 + 2) / 2 * LN2),
    ("time_average", True, (2 + 2) / 2 * LN2),
  )
  def test_not_knowing_costs_ln_2_a_bit(self, time_average, loss):
    mask = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    targets = np.array([[[0, 1]] * 2, [[1, 1]] * 2, [[0, 0]] * 2], float)
    objective = functools.partial(losses.bits, time_average=time_average)
    scores = jax.jit(objective)(np.zeros((3, 2, 2)), targets, mask)
    np.testing.assert_allclose(scores.loss, loss, rtol=1e-6)
    # A logit of 0 says 0.
    np.testing.assert_array_equal(scores.right, [1, 0])
    np.testing.assert_array_equal(scores.count, [4, 2])

  @parameterized.named_parameters(
    ("sum", False, 3 * LN4 - 2 * LN3),
    ("time_average", True, (3 * LN4 - 2 * LN3) / 2),
  )
  def test_by_hand(self, time_average, loss):
    # σ(ln 3) = 3/4. Right: -ln 3/4 = ln 4 - ln 3. Wrong: -ln 1/4 = ln 4.
    logits = np.array([LN3, -LN3, LN3, -LN3])[:, None, None]
    targets = np.array([1.0, 0.0, 0.0, 1.0])[:, None, None]
    mask = np.array([1.0, 1.0, 1.0, 0.0])[:, None]
    if time_average:
      # The last not scored, the third not either.
      mask[2] = 0
      loss = LN4 - LN3
    objective = functools.partial(losses.bits, time_average=time_average)
    scores = jax.jit(objective)(logits, targets, mask)
    np.testing.assert_allclose(scores.loss, loss, rtol=1e-6)
    np.testing.assert_array_equal(scores.right, [2])
    np.testing.assert_array_equal(scores.count, mask.sum(axis=0))


class DigitsTest(parameterized.TestCase):
  def test_not_knowing_costs_the_log_of_the_base_a_digit(self):
    targets = one_hot(np.full((4, 2, 3), 7), 10)
    mask = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    scores = jax.jit(losses.digits)(np.zeros((4, 2, 30)), targets, mask)
    # The mean over steps, whosever they are.
    np.testing.assert_allclose(scores.loss, 3 * math.log(10), rtol=1e-6)
    np.testing.assert_array_equal(scores.right, [0, 0])
    np.testing.assert_array_equal(scores.count, [2, 3])

  def test_by_hand(self):
    # softmax([ln 3, 0]) = [3/4, 1/4].
    logits = np.array([[[LN3, 0, 0, LN3]], [[LN3, 0, 0, LN3]], [[9, 0, 0, 9]]])
    targets = one_hot([[[0, 1]], [[0, 0]], [[1, 0]]], 2)
    mask = np.array([[1.0], [1.0], [0.0]])
    objective = functools.partial(losses.digits, base=2)
    scores = jax.jit(objective)(logits, targets, mask)
    right, half = 2 * (LN4 - LN3), (LN4 - LN3) + LN4
    np.testing.assert_allclose(scores.loss, (right + half) / 2, rtol=1e-6)
    # All digits of a vector must be right.
    np.testing.assert_array_equal(scores.right, [1])
    np.testing.assert_array_equal(scores.count, [2])

  def test_sequences_weigh_by_their_steps(self):
    # One step by chance, three certain: ln 2 over four steps.
    logits = np.zeros((3, 2, 2))
    logits[:, 1, 0] = 100
    targets = one_hot(np.zeros((3, 2, 1), int), 2)
    mask = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    objective = functools.partial(losses.digits, base=2)
    scores = jax.jit(objective)(logits, targets, mask)
    np.testing.assert_allclose(scores.loss, LN2 / 4, rtol=1e-6)


@parameterized.named_parameters(*OBJECTIVES)
class ObjectiveTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.targets = one_hot(rng.integers(0, 3, (5, 4, 2)), 3)
    self.logits = rng.normal(size=self.targets.shape)
    self.mask = (rng.random((5, 4)) < 0.6).astype(np.float32)
    self.mask[:, 1] = 0  # A sequence of which nothing is scored.

  def test_all_right(self, objective):
    logits = 200 * (2 * self.targets - 1)
    scores = jax.jit(objective)(logits, self.targets, self.mask)
    np.testing.assert_allclose(scores.loss, 0, atol=1e-6)
    np.testing.assert_array_equal(scores.right, scores.count)
    self.assertGreater(scores.count.sum(), 0)

  def test_all_wrong_is_finite(self, objective):
    logits = -1e4 * (2 * self.targets - 1)
    loss, gradient = jax.jit(
      jax.value_and_grad(lambda x: objective(x, self.targets, self.mask).loss)
    )(logits)
    self.assertTrue(np.isfinite(loss))
    self.assertTrue(np.isfinite(gradient).all())
    right = objective(logits, self.targets, self.mask).right
    np.testing.assert_array_equal(right, np.zeros(4))

  def test_what_is_not_scored_counts_for_nothing(self, objective):
    scores = objective(self.logits, self.targets, self.mask)
    elsewhere = self.mask[..., None] == 0
    other = objective(
      np.where(elsewhere, 77, self.logits),
      np.where(elsewhere, 1 - self.targets, self.targets),
      self.mask,
    )
    for a, b in zip(scores, other, strict=True):
      np.testing.assert_array_equal(a, b)
    self.assertEqual(scores.count[1], 0)

  def test_padding_changes_nothing(self, objective):
    scores = objective(self.logits, self.targets, self.mask)
    pad = [(0, 3), (0, 0), (0, 0)]
    padded = objective(
      np.pad(self.logits, pad),
      np.pad(self.targets, pad),
      np.pad(self.mask, pad[:2]),
    )
    np.testing.assert_allclose(scores.loss, padded.loss, rtol=1e-6)
    np.testing.assert_array_equal(scores.right, padded.right)
    np.testing.assert_array_equal(scores.count, padded.count)

  def test_nothing_scored_is_zero(self, objective):
    mask = np.zeros_like(self.mask)
    loss, gradient = jax.value_and_grad(
      lambda x: objective(x, self.targets, mask).loss
    )(self.logits)
    self.assertEqual(loss, 0)
    np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
    scores = objective(self.logits, self.targets, mask)
    np.testing.assert_array_equal(scores.right, np.zeros(4))
    np.testing.assert_array_equal(scores.count, np.zeros(4))

  def test_scores_are_of_each_sequence(self, objective):
    scores = objective(self.logits, self.targets, self.mask)
    for row in range(4):
      own = objective(
        *(x[:, row, None] for x in (self.logits, self.targets, self.mask))
      )
      np.testing.assert_array_equal(own.right, scores.right[row, None])
      np.testing.assert_array_equal(own.count, scores.count[row, None])

  def test_shapes_that_differ_are_refused(self, objective):
    with self.assertRaises(AssertionError):
      objective(self.logits[:, :1], self.targets, self.mask)
    with self.assertRaises(AssertionError):
      objective(self.logits, self.targets, self.mask[:, :1])


@parameterized.named_parameters(*OBJECTIVES)
class GradientsTest(Float64TestCase):
  def test_gradients(self, objective):
    rng = np.random.default_rng(1)
    targets = one_hot(rng.integers(0, 3, (3, 2, 2)), 3)
    logits = jnp.asarray(rng.normal(size=targets.shape))
    mask = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])

    def loss(logits):
      return objective(logits, targets, mask).loss

    jax.test_util.check_grads(loss, (logits,), order=1, modes=["fwd", "rev"])
    gradient = jax.grad(loss)(logits)
    np.testing.assert_array_equal(gradient[mask == 0], 0)
    self.assertTrue((gradient[mask > 0] != 0).all())


if __name__ == "__main__":
  absltest.main()
