"""What is kept for the backward pass changes no number."""

import dataclasses
import functools
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import ModelConfig, backward, losses, training
from tests.compiled import temporary_bytes
from tests.cores import CORES, INPUT_SIZE, MEMORY_SIZE, make_params, transform
from tests.float64 import Float64TestCase

T, B = 7, 2


def unroll(name, chunk_length):
  """Returns a core of the table, unrolled; in chunks if they have a length."""

  def function(inputs, resets):
    core = hk.ResetCore(CORES[name].make(MEMORY_SIZE))
    state = core.initial_state(B)
    if chunk_length is None:
      return hk.dynamic_unroll(core, (inputs, resets), state)
    heard = inputs, resets
    return backward.unroll_in_chunks(core, heard, state, chunk_length)

  return transform(function)


@functools.cache
def result(name, chunk_length):
  """Returns outputs and last state, and the gradient of all outputs."""
  rng = np.random.default_rng(0)
  inputs = CORES[name].inputs(rng, T, B, memory_size=MEMORY_SIZE, scale=1.0)
  resets = np.zeros((T, B), bool)
  resets[4, 0] = True
  params = make_params(unroll(name, None), inputs, resets)
  params, inputs = jax.tree.map(np.float64, (params, inputs))

  @jax.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def run(params, inputs):
    outputs, state = unroll(name, chunk_length).apply(params, inputs, resets)
    total = sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(outputs))
    return total, (outputs, state)

  return run(params, inputs)


class UnrollInChunksTest(Float64TestCase):
  @parameterized.parameters(
    ("dnc", 3),
    ("sam", 3),  # Slots and a count of steps are no real numbers.
    ("freeness", 3),  # Hears several arrays.
    # One for each step, a shorter one at the end, one for all, longer than all.
    *(("lstm", chunk_length) for chunk_length in (1, 3, 7, 9)),
  )
  def test_the_same_as_all_at_once(self, name, chunk_length):
    actual, expected = result(name, chunk_length), result(name, None)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12),
      actual,
      expected,
    )

  def test_parameters_are_the_same(self):
    inputs = np.zeros((T, B, INPUT_SIZE)), np.zeros((T, B), bool)
    made = [
      jax.jit(unroll("lstm", chunk_length).init)(jax.random.key(0), *inputs)
      for chunk_length in (None, 2)
    ]
    jax.tree.map(np.testing.assert_array_equal, *made)

  def test_each_step_draws_other_numbers(self):
    def draw(inputs, state):
      return jax.random.uniform(hk.next_rng_key(), inputs.shape), state

    run = hk.transform(
      lambda: backward.unroll_in_chunks(draw, jnp.zeros((T, B)), (), 3)[0]
    )
    drawn = jax.jit(run.apply)({}, jax.random.key(0))
    self.assertLen(np.unique(drawn), T * B)

  @parameterized.parameters(0, -1)
  def test_a_length_below_one_is_refused(self, chunk_length):
    with self.assertRaisesRegex(
      ValueError, f"chunk_length must be at least 1, got {chunk_length}"
    ):
      unroll("lstm", chunk_length).init(
        jax.random.key(0),
        np.zeros((T, B, INPUT_SIZE)),
        np.zeros((T, B), bool),
      )


CONFIG = ModelConfig(output_size=2, hidden_size=4, memory_size=32, num_reads=1)
ALL = training.OptimiserConfig("rmsprop", 0.01)
IN_CHUNKS = dataclasses.replace(ALL, chunk_length=5)


def batch(num_steps):
  """Returns random bits to be said at once."""
  rng = np.random.default_rng(0)
  bits = rng.integers(0, 2, (num_steps, 16, 2)).astype(np.float32)
  mask = np.ones(bits.shape[:2], np.float32)
  return losses.Batch(bits, bits, mask, np.zeros(16, np.int32))


class TrainingTest(absltest.TestCase):
  def _update(self, config, optimiser, num_steps):
    state = training.init_state(config, optimiser, 2, seed=0)
    update = training.make_update(config, optimiser, losses.bits)
    return update(state, batch(num_steps), 0, config.memory_size)

  def test_an_update_is_the_same(self):
    config = dataclasses.replace(CONFIG, links="off")  # It compiles fast.
    found, expected = (self._update(config, x, 12) for x in (IN_CHUNKS, ALL))
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
      found,
      expected,
    )

  def test_far_less_is_held(self):
    def held(chunk_length):
      optimiser = dataclasses.replace(ALL, chunk_length=chunk_length)
      state = jax.eval_shape(
        lambda: training.init_state(CONFIG, optimiser, 2, seed=0)
      )
      update: Any = training.make_update(CONFIG, optimiser, losses.bits)
      lowered = update.lower(state, batch(400), 0, CONFIG.memory_size)
      return temporary_bytes(lowered.compile())

    # 400 states of links and memory; and 20, and 20 more with all between.
    self.assertLess(held(20), 0.2 * held(0))


if __name__ == "__main__":
  absltest.main()
