"""Allocation against the slow reference, staged situations and gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax.addressing
from tests import references
from tests.float64 import Float64TestCase

# Any, because it is annotated for JAX's arrays and numpy's serve as well.
addressing: Any = dnc_jax.addressing

B, N, H = 3, 6, 3

ALLOCATION_CASES = (
  ("random", np.random.default_rng(0).uniform(size=(4, 9))),
  ("all_free", np.zeros((2, 5))),
  ("all_used", np.ones((2, 5))),
  ("ties", np.array([[0.5, 0.2, 0.5, 0.2, 0.2, 1.0, 0.0, 0.0]])),
  ("all_equal", np.full((1, 6), 0.3)),
  ("some_used", np.array([[1.0, 0.3, 1.0, 0.1, 1.0]])),
  ("one_slot", np.array([[0.0], [0.25], [1.0]])),
  ("two_slots", np.array([[0.9, 0.1], [0.1, 0.9]])),
  ("nearly_used", 1 - 1e-9 * np.array([[3.0, 1.0, 2.0]])),
  ("nearly_free", 1e-9 * np.array([[3.0, 1.0, 2.0]])),
)

# On both sides of the size from which slots are sorted and not compared.
MEMORY_SIZES = (1, 2, 16, 129, 512, 513, 1025)


class AllocationWeightsTest(Float64TestCase):
  @parameterized.named_parameters(*ALLOCATION_CASES)
  def test_matches_the_reference(self, usage):
    # Repeated, the same slots tie with each other and fill a large memory.
    for repeats in (1, 1000 // usage.shape[1]):
      repeated = np.tile(usage, (1, repeats))
      expected = references.over_batch(references.allocation_weights, repeated)
      actual = jax.jit(addressing.allocation_weights)(repeated)
      with self.subTest(slots=repeated.shape[1]):
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-15)

  @parameterized.parameters(*MEMORY_SIZES)
  def test_matches_the_reference_for_any_number_of_slots(self, size):
    rng = np.random.default_rng(size)
    usage = rng.uniform(0.7, 1.0, size=(3, size))
    # Coarse steps, so that many slots tie; and all of them nearly used.
    usage[1] = rng.integers(1, 9, size=size) / 8
    usage[2] = rng.uniform(size=size) ** 0.01
    expected = references.over_batch(references.allocation_weights, usage)
    actual = jax.jit(addressing.allocation_weights)(usage)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-15)
    rounded = np.float32(usage)
    expected = references.over_batch(references.allocation_weights, rounded)
    with jax.enable_x64(False):
      actual = jax.jit(addressing.allocation_weights)(rounded)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)

  @parameterized.parameters(*MEMORY_SIZES[1:])
  def test_gradient_matches_differences_of_the_reference(self, size):
    rng = np.random.default_rng(size)
    # Far enough apart that a difference changes no order.
    usage = rng.permutation(np.linspace(0.9, 0.999, size))
    aim, direction = rng.normal(size=(2, size))

    def slow(step):
      return aim @ references.allocation_weights(usage + step * direction)

    gradient = jax.jit(
      jax.grad(lambda u: jnp.sum(aim * addressing.allocation_weights(u)[0]))
    )(usage[None])
    expected = (slow(1e-7) - slow(-1e-7)) / 2e-7
    actual = np.sum(gradient[0] * direction)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)

  @parameterized.product(size=[5, 600], dtype=["float32", "float64"])
  def test_stays_in_the_unit_interval(self, size, dtype):
    rng = np.random.default_rng(0)
    usage = np.stack(
      [
        rng.uniform(size=size),
        rng.integers(0, 2, size=size),
        np.ones(size),
        np.zeros(size),
        np.nextafter(np.float32(1), np.float32(0)) * np.ones(size),
      ]
    ).astype(dtype)
    weights = np.asarray(jax.jit(addressing.allocation_weights)(usage))
    self.assertTrue((weights >= 0).all())
    self.assertTrue((weights.sum(axis=1) <= 1 + 1e-6).all())

  @parameterized.named_parameters(
    ("the_free_slot", [1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]),
    ("the_first_of_free_slots", [0.0] * 4, [1.0, 0.0, 0.0, 0.0]),
    ("the_first_after_a_used_one", [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
    ("nothing", [1.0] * 4, [0.0] * 4),
    ("what_is_left", [1.0, 0.25, 0.5], [0.0, 0.75, 0.125]),
  )
  def test_allocates(self, usage, expected):
    actual = addressing.allocation_weights(jnp.array([usage]))
    np.testing.assert_allclose(actual, [expected], atol=3e-6)

  @parameterized.parameters(13, 600)
  def test_prefers_the_least_used(self, size):
    usage = np.random.default_rng(0).uniform(0.001, 0.999, size=(7, size))
    weights = np.asarray(addressing.allocation_weights(usage))
    np.testing.assert_array_equal(weights.argmax(axis=1), usage.argmin(axis=1))
    self.assertTrue((weights >= 0).all())
    self.assertTrue((weights.sum(axis=1) <= 1 + 1e-12).all())
    np.testing.assert_allclose(weights.sum(axis=1), np.ones(7), atol=0.01)

  @parameterized.parameters(5, 600)
  def test_does_not_depend_on_the_order_of_slots(self, size):
    rng = np.random.default_rng(0)
    usage, order = rng.uniform(size=(2, size)), rng.permutation(size)
    np.testing.assert_allclose(
      addressing.allocation_weights(usage[:, order]),
      np.asarray(addressing.allocation_weights(usage))[:, order],
      rtol=1e-12,
      atol=1e-300,
    )

  @parameterized.product(
    usage=[0.0, 0.5, 1.0], size=[1, 5, 600], dtype=["float32", "float64"]
  )
  def test_gradient_is_finite_where_slots_tie(self, usage, size, dtype):
    arguments = jnp.full((2, size), usage, dtype)
    aim = np.random.default_rng(0).normal(size=(2, size)).astype(dtype)
    gradient = jax.jit(
      jax.grad(lambda u: jnp.sum(aim * addressing.allocation_weights(u)))
    )(arguments)
    self.assertTrue(np.isfinite(gradient).all())


class WriteAllocationWeightsTest(Float64TestCase):
  @parameterized.parameters(1, 2, 5)
  def test_matches_the_reference(self, num_writes):
    rng = np.random.default_rng(0)
    for size in (2, 16, 600):
      arguments = (
        rng.uniform(size=(2, size)),
        rng.uniform(size=(2, num_writes)),
      )
      expected = references.over_batch(
        references.write_allocation_weights, *arguments
      )
      actual = jax.jit(addressing.write_allocation_weights)(*arguments)
      with self.subTest(size=size):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-14)

  def test_one_head_is_the_plain_allocation(self):
    usage = np.random.default_rng(0).uniform(size=(B, N))
    np.testing.assert_allclose(
      addressing.write_allocation_weights(usage, jnp.full((B, 1), 0.3))[:, 0],
      addressing.allocation_weights(usage),
      rtol=1e-14,
    )

  def test_a_closed_gate_leaves_its_slot_to_the_next_head(self):
    rng = np.random.default_rng(1)
    usage = rng.uniform(size=(B, 23))
    gates = rng.uniform(0.8, 1.0, size=(B, 5))
    gates[:, 1] = gates[:, 3] = 0.0
    weights = np.asarray(addressing.write_allocation_weights(usage, gates))
    self.assertTrue((weights >= 0).all())
    np.testing.assert_allclose(weights.sum(axis=-1), np.ones((B, 5)), atol=1e-3)
    np.testing.assert_array_equal(weights[:, 1], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 3], weights[:, 4])
    for first, second in ((0, 1), (2, 3)):
      apart = np.abs(weights[:, first] - weights[:, second]).max(axis=-1)
      self.assertTrue((apart > 0.1).all())

  def test_open_gates_give_each_head_its_own_free_slot(self):
    usage = np.full((2, 7), 0.7)
    usage[0, 3], usage[0, 5] = 0.0, 1e-4
    usage[1, 1], usage[1, 0] = 0.0, 1e-4
    weights = addressing.write_allocation_weights(usage, jnp.ones((2, 2)))
    expected = np.eye(7)[[[3, 5], [1, 0]]]
    np.testing.assert_allclose(weights, expected, atol=1e-3)

  @parameterized.product(
    usage=[0.0, 1.0], gate=[0.0, 0.5, 1.0], dtype=["float32", "float64"]
  )
  def test_gradients_are_finite(self, usage, gate, dtype):
    aim = np.random.default_rng(0).normal(size=(B, H, N)).astype(dtype)
    gradients = jax.jit(
      jax.grad(
        lambda *a: jnp.sum(aim * addressing.write_allocation_weights(*a)),
        argnums=(0, 1),
      )
    )(jnp.full((B, N), usage, dtype), jnp.full((B, H), gate, dtype))
    for gradient in gradients:
      self.assertTrue(np.isfinite(gradient).all())


if __name__ == "__main__":
  absltest.main()
