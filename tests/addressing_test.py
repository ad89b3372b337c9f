"""Every addressing function against the slow references."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.test_util import check_grads

import dnc_jax.addressing
from tests import references
from tests.float64 import Float64TestCase
from tests.weightings import links, weightings

# Any, because it is annotated for JAX's arrays and numpy's serve as well.
addressing: Any = dnc_jax.addressing

B, N, W, R, H = 3, 6, 4, 2, 3


def _cases():
  """Yields name, function, reference and arguments, one per function."""
  rng = np.random.default_rng(0)
  memory = rng.normal(size=(B, N, W))
  keys = rng.normal(size=(B, H, W))
  strengths = rng.uniform(0.1, 8.0, size=(B, H))
  mask = rng.uniform(size=(B, H, W))
  usage = rng.uniform(size=(B, N))
  gates = rng.uniform(size=(B, H))
  free_gate = rng.uniform(size=(B, R))
  writes = weightings(rng, B, H, N)
  reads = weightings(rng, B, R, N)
  linked = links(rng, B, H, N)
  precedence = weightings(rng, B, H, N)
  erase = rng.uniform(size=(B, H, W))
  values = rng.normal(size=(B, H, W))
  forward = weightings(rng, B, R, H, N)
  backward = weightings(rng, B, R, H, N)
  modes = rng.dirichlet(np.ones(1 + 2 * H), size=(B, R))
  ways = {"forward": True, "backward": False}

  content = (addressing.content_weights, references.heads_content_weights)
  yield "content", *content, (memory, keys, strengths)
  yield "content_masked", *content, (memory, keys, strengths, mask)
  yield (
    "usage_after_write",
    addressing.usage_after_write,
    references.usage_after_write,
    (usage, writes),
  )
  yield (
    "retention",
    addressing.retention,
    references.retention,
    (free_gate, reads),
  )
  yield (
    "usage_after_read",
    addressing.usage_after_read,
    references.usage_after_read,
    (usage, free_gate, reads),
  )
  yield (
    "allocation",
    addressing.allocation_weights,
    references.allocation_weights,
    (usage,),
  )
  yield (
    "write_allocation",
    addressing.write_allocation_weights,
    references.write_allocation_weights,
    (usage, gates),
  )
  yield (
    "write_weights",
    addressing.write_weights,
    references.write_weights,
    (weightings(rng, B, H, N), writes, gates, rng.uniform(size=(B, H))),
  )
  update = (addressing.erase_and_write, references.erase_and_write)
  yield "erase_and_write", *update, (memory, writes, erase, values)
  yield (
    "erase_and_write_with_retention",
    *update,
    (memory, writes, erase, values, rng.uniform(size=(B, N))),
  )
  yield (
    "link",
    addressing.link,
    references.link,
    (linked, precedence, writes),
  )
  yield (
    "precedence",
    addressing.precedence_weights,
    references.precedence_weights,
    (precedence, writes),
  )
  for name, way in ways.items():
    yield (
      name,
      functools.partial(addressing.directional_weights, forward=way),
      functools.partial(references.directional_weights, forward=way),
      (linked, reads),
    )
  yield (
    "read_weights",
    addressing.read_weights,
    references.read_weights,
    (weightings(rng, B, R, N), forward, backward, modes),
  )


# Made once, so that tests of the same function share what JAX compiled.
CASES = tuple(_cases())


class EveryFunctionTest(Float64TestCase):
  """Properties that hold for every function of the module."""

  @parameterized.named_parameters(*CASES)
  def test_matches_the_reference(self, function, reference, arguments):
    expected = references.over_batch(reference, *arguments)
    actual = jax.jit(function)(*arguments)
    self.assertEqual(actual.dtype, jnp.float64)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-13)

  @parameterized.named_parameters(*CASES)
  def test_matches_the_reference_in_float32(
    self, function, reference, arguments
  ):
    rounded = [np.float32(a) for a in arguments]
    expected = references.over_batch(reference, *rounded)
    with jax.enable_x64(False):
      actual = jax.jit(function)(*rounded)
    self.assertEqual(actual.dtype, jnp.float32)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6)

  @parameterized.named_parameters(*CASES)
  def test_keeps_bfloat16(self, function, reference, arguments):
    del reference
    arguments = [jax.ShapeDtypeStruct(a.shape, jnp.bfloat16) for a in arguments]
    with jax.numpy_dtype_promotion("strict"):
      weights = jax.eval_shape(function, *arguments)
    self.assertEqual(weights.dtype, jnp.bfloat16)

  @parameterized.named_parameters(*CASES)
  def test_gradients_match_finite_differences(
    self, function, reference, arguments
  ):
    del reference
    # One sequence, so that the differences are not lost in a sum over many.
    arguments = [jnp.asarray(a[:1]) for a in arguments]
    check_grads(
      jax.jit(function),
      arguments,
      order=1,
      modes=["rev"],
      atol=1e-7,
      rtol=1e-6,
      eps=1e-6,
    )

  @parameterized.named_parameters(*CASES)
  def test_gradients_match_differences_of_the_reference(
    self, function, reference, arguments
  ):
    arguments = [a[:1] for a in arguments]
    rng = np.random.default_rng(1)
    shape = jax.eval_shape(function, *arguments).shape
    cotangent = rng.normal(size=shape)
    directions = [rng.normal(size=a.shape) for a in arguments]

    def slow(step):
      moved = [a + step * d for a, d in zip(arguments, directions)]
      return np.sum(cotangent * references.over_batch(reference, *moved))

    gradients = jax.jit(
      jax.grad(lambda values: jnp.sum(cotangent * function(*values)))
    )(arguments)
    actual = sum(np.sum(g * d) for g, d in zip(gradients, directions))
    expected = (slow(1e-6) - slow(-1e-6)) / 2e-6
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8)

  @parameterized.named_parameters(*CASES)
  def test_rejects_an_array_without_its_batch_axis(
    self, function, reference, arguments
  ):
    del reference
    for i, argument in enumerate(arguments):
      wrong = [jnp.asarray(a) for a in arguments]
      wrong[i] = jnp.asarray(argument[0])
      with self.subTest(argument=i), self.assertRaises(AssertionError):
        jax.eval_shape(function, *wrong)

  @parameterized.named_parameters(*[c for c in CASES if len(c[3]) > 1])
  def test_rejects_batches_that_differ(self, function, reference, arguments):
    del reference
    for i, argument in enumerate(arguments):
      # Of one sequence, which broadcasting would accept.
      wrong = [jnp.asarray(a) for a in arguments]
      wrong[i] = jnp.asarray(argument[:1])
      with self.subTest(argument=i), self.assertRaises(AssertionError):
        jax.eval_shape(function, *wrong)


class ContentWeightsTest(Float64TestCase):
  @parameterized.named_parameters(
    ("empty_memory", 0.0, 1.0, 5.0),
    ("zero_key", 1.0, 0.0, 5.0),
    ("both_zero", 0.0, 0.0, 5.0),
    ("no_strength", 1.0, 1.0, 0.0),
  )
  def test_nothing_to_compare_is_uniform(self, memory, key, strength):
    rng = np.random.default_rng(0)
    weights = addressing.content_weights(
      memory * rng.normal(size=(B, N, W)),
      key * rng.normal(size=(B, H, W)),
      jnp.full((B, H), strength),
    )
    np.testing.assert_allclose(weights, np.full((B, H, N), 1 / N), rtol=1e-12)

  @parameterized.named_parameters(
    ("one_slot", 1, 1.0, 1.0),
    ("strong", N, 1.0, 1e4),
    ("tiny_words", N, 1e-5, 50.0),
    ("huge_words", N, 1e5, 50.0),
    ("negligible_strength", N, 1.0, 1e-9),
  )
  def test_matches_the_reference(self, size, scale, strength):
    rng = np.random.default_rng(1)
    arguments = (
      scale * rng.normal(size=(B, size, W)),
      rng.normal(size=(B, H, W)),
      np.full((B, H), strength),
    )
    expected = references.over_batch(
      references.heads_content_weights, *arguments
    )
    actual = addressing.content_weights(*arguments)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(actual.sum(axis=-1), np.ones((B, H)), rtol=1e-12)

  def test_compares_directions_and_not_lengths(self):
    memory = jnp.array([[[1.0, 2.0], [9.0, 9.0], [-3.0, -6.0], [0.0, 0.0]]])
    keys = jnp.array([[[10.0, 20.0], [-0.5, -1.0], [0.1, 0.1]]])
    weights = addressing.content_weights(memory, keys, jnp.full((1, 3), 1e3))
    expected = np.eye(4)[[0, 2, 1]][None]
    np.testing.assert_allclose(weights, expected, atol=1e-6)

  def test_equal_strengths_are_a_plain_softmax_of_cosines(self):
    rng = np.random.default_rng(2)
    memory, keys = rng.normal(size=(B, N, W)), rng.normal(size=(B, H, W))
    cosines = np.einsum("bnw,bhw->bhn", memory, keys)
    cosines /= np.linalg.norm(memory, axis=-1)[:, None, :]
    cosines /= np.linalg.norm(keys, axis=-1)[:, :, None]
    weights = addressing.content_weights(memory, keys, jnp.ones((B, H)))
    np.testing.assert_allclose(weights, jax.nn.softmax(cosines), atol=1e-5)

  def test_a_mask_hides_a_word_from_the_comparison(self):
    memory = jnp.array([[[1.0, 7.0], [-1.0, 3.0]]])
    keys = jnp.array([[[1.0, -5.0]]])
    mask = jnp.array([[[1.0, 0.0]]])
    weights = addressing.content_weights(
      memory, keys, jnp.full((1, 1), 100.0), mask
    )
    np.testing.assert_allclose(weights, [[[1.0, 0.0]]], atol=1e-12)

  def test_a_mask_of_ones_changes_nothing(self):
    rng = np.random.default_rng(3)
    arguments = (
      rng.normal(size=(B, N, W)),
      rng.normal(size=(B, H, W)),
      rng.uniform(1, 9, size=(B, H)),
    )
    np.testing.assert_allclose(
      addressing.content_weights(*arguments, np.ones((B, H, W))),
      addressing.content_weights(*arguments),
      rtol=1e-12,
    )

  @parameterized.product(
    empty_memory=[True, False], zero_keys=[True, False], masked=[True, False]
  )
  def test_gradients_are_finite(self, empty_memory, zero_keys, masked):
    rng = np.random.default_rng(4)
    memory = rng.normal(size=(B, N, W))
    memory[:, 1:] *= not empty_memory
    memory[1] *= not empty_memory
    keys = rng.normal(size=(B, H, W)) * (not zero_keys)
    strengths = rng.uniform(size=(B, H))
    mask = np.zeros((B, H, W)) if masked else np.ones((B, H, W))
    aim = rng.normal(size=(B, H, N))

    def loss(*arguments):
      return jnp.sum(aim * addressing.content_weights(*arguments))

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(
      memory, keys, strengths, mask
    )
    for gradient in gradients:
      self.assertTrue(np.isfinite(gradient).all())


class OneplusTest(Float64TestCase):
  def test_matches_the_reference(self):
    x = np.array([-800.0, -30.0, -1.0, 0.0, 0.5, 30.0, 800.0])
    expected = [references.oneplus(value) for value in x]
    np.testing.assert_allclose(addressing.oneplus(x), expected, rtol=1e-14)


if __name__ == "__main__":
  absltest.main()
