"""Training of cores with sparse memories: what is kept, and how large."""

import dataclasses
from typing import Any
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import backward, losses, training
from dnc_jax.config import ModelConfig
from tests.compiled import copies_in_loops, temporary_bytes

SPARSE = ("sam", "sdnc")
SMALL = ModelConfig(
  output_size=2,
  hidden_size=4,
  memory_size=8,
  word_size=8,
  num_reads=2,
  sparsity=2,
  link_size=3,
)
OPTIMISER = training.OptimiserConfig("adam", learning_rate=0.01)


def batch(num_steps, batch_size):
  """Returns random bits to be said at once."""
  rng = np.random.default_rng(0)
  bits = rng.integers(0, 2, (num_steps, batch_size, 2)).astype(np.float32)
  mask = np.ones(bits.shape[:2], np.float32)
  return losses.Batch(bits, bits, mask, np.zeros(batch_size, np.int32))


def config_of(core, **changes):
  return dataclasses.replace(SMALL, core=core, **changes)


def make_update(config):
  return training.make_update(config, OPTIMISER, losses.bits)


class TrainingTest(parameterized.TestCase):
  @parameterized.parameters(*SPARSE)
  def test_what_is_kept_does_not_grow_with_slots(self, core):
    config = config_of(core)
    update: Any = make_update(config)
    state = training.init_state(config, OPTIMISER, 2, seed=0)
    num_slots = 2**14
    self.assertFalse(
      backward.is_small(dataclasses.replace(config, memory_size=num_slots), 1)
    )
    short, long = (
      update.lower(state, batch(steps, 1), 0, num_slots).compile()
      for steps in (5, 55)
    )
    kept = temporary_bytes(long) - temporary_bytes(short)
    self.assertLess(kept / 50, 4 * num_slots)
    if jax.default_backend() != "cpu":
      self.skipTest("The text is that of the CPU's compiler.")
    # Neither memory nor links are copied at a step.
    self.assertEmpty(copies_in_loops(long, num_slots))

  @parameterized.parameters(*SPARSE)
  def test_learns_with_65_536_slots(self, core):
    config = config_of(core)
    update = make_update(config)
    state = training.init_state(config, OPTIMISER, 2, seed=0)
    found = []
    for step in range(10):
      state, scores = update(state, batch(6, 2), step, 2**16)
      found.append(float(scores.loss))
    self.assertLess(found[-1], found[0])
    self.assertEqual(int(state.step), 10)

  @parameterized.parameters(*SPARSE)
  def test_parameters_do_not_depend_on_sizes_of_sparsity(self, core):
    config = config_of(core)
    other = dataclasses.replace(config, memory_size=64, sparsity=7, link_size=1)
    first, second = (
      training.init_state(x, OPTIMISER, 2, seed=0).params
      for x in (config, other)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)

  # Of sam and sdnc, links are no option.
  @parameterized.parameters(
    ("dnc", "dense"), ("dnc", "sparse"), ("dnc", "off"), ("sam",), ("sdnc",)
  )
  def test_small_or_not_gradients_are_the_same(self, core, links="dense"):
    config = config_of(core, links=links)
    params = training.init_state(config, OPTIMISER, 2, seed=0).params
    bits = batch(4, 2)
    gradients = []
    for small in (True, False):
      with mock.patch.object(backward, "is_small", return_value=small):

        def loss(params):
          logits = training.make_forward(config).apply(params, bits.inputs)
          return losses.bits(logits, bits.targets, bits.mask).loss

        gradients.append(jax.jit(jax.grad(loss))(params))
    jax.tree.map(
      lambda *x: np.testing.assert_allclose(*x, rtol=1e-3, atol=1e-5),
      *gradients,
    )

  @parameterized.parameters(
    ("dnc", "dense", 128, False),
    ("dnc", "sparse", 128, True),
    ("dnc", "off", 128, True),
    ("dnc", "sparse", 1024, False),
    ("sam", "dense", 1024, True),
    ("sdnc", "dense", 1024, False),
    ("sdnc", "dense", 512, True),
  )
  def test_links_count_for_what_is_small(self, core, links, slots, small):
    config = config_of(core, links=links, memory_size=slots, word_size=16)
    self.assertEqual(backward.is_small(config, 1), small)


if __name__ == "__main__":
  absltest.main()
