"""The plain DNC computes what the library's does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import ModelConfig, losses, training
from scripts import costs, plain
from tests.float64 import Float64TestCase

CONFIG = ModelConfig(
  costs.NUM_BITS,
  hidden_size=7,
  memory_size=6,
  word_size=5,
  num_reads=2,
  clip_value=20.0,
)
# Beyond that many slots the library finds free ones in another way.
MANY = dataclasses.replace(CONFIG, memory_size=200)
# So low that it matters.
CLIPPED = dataclasses.replace(CONFIG, clip_value=0.1)
UNCLIPPED = dataclasses.replace(CONFIG, clip_value=None)

every_config = parameterized.named_parameters(
  ("few_slots", CONFIG, 12),
  ("many_slots", MANY, 4),
  ("clipped", CLIPPED, 6),
  ("unclipped", UNCLIPPED, 6),
)


def float64(tree):
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def larger(params):
  """Returns parameters with which gates open and memories differ."""
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), params)


class ForwardTest(Float64TestCase):
  @every_config
  def test_logits_and_gradients_are_the_librarys(self, config, num_steps):
    batch = float64(costs.random_batch(num_steps, 3)._replace(lesson=()))
    network = training.make_forward(config)
    params = larger(
      jax.eval_shape(network.init, jax.random.key(0), batch.inputs)
    )

    def loss(params, forward):
      logits = forward(params, batch.inputs)
      return losses.bits(logits, batch.targets, batch.mask).loss, logits

    def run(forward):
      function = jax.value_and_grad(lambda x: loss(x, forward), has_aux=True)
      return jax.jit(function)(params)

    (_, logits), gradients = run(
      lambda params, inputs: plain.forward(params, inputs, config)
    )
    (_, expected), expected_gradients = run(network.apply)
    np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-10)
    # Steps must differ, or a state that is not handed on would not be noticed.
    self.assertGreater(np.abs(np.diff(logits, axis=0)).min(axis=0).max(), 1e-3)
    for name, layer in expected_gradients.items():
      for part, expected in layer.items():
        np.testing.assert_allclose(
          gradients[name][part], expected, rtol=1e-8, atol=1e-8, err_msg=name
        )


class UpdateTest(parameterized.TestCase):
  def test_trains_as_the_library_does(self):
    optimiser = training.OptimiserConfig(learning_rate=1e-2)
    batch = costs.random_batch(5, 3)
    ours, theirs = (
      training.init_state(CONFIG, optimiser, costs.NUM_BITS, seed=0)
      for _ in range(2)
    )
    update = training.make_update(CONFIG, optimiser, losses.bits)
    plain_update = plain.make_update(CONFIG, optimiser)
    found = []
    for step in range(3):
      ours, scores = update(ours, batch, step, CONFIG.memory_size)
      theirs, loss = plain_update(theirs, batch)
      np.testing.assert_allclose(loss, scores.loss, rtol=1e-5)
      found.append(float(loss))
    self.assertLess(found[-1], found[0])
    self.assertEqual(int(theirs.step), 3)


if __name__ == "__main__":
  absltest.main()
