"""A trained model's words are made longer, and it goes on working."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import training
from dnc_jax.config import ModelConfig

CONFIG = ModelConfig(
  output_size=5,
  hidden_size=12,
  memory_size=6,
  word_size=4,
  num_reads=2,
  strength="oneplus",
)
OPTIMISER = training.OptimiserConfig()
INPUT_SIZE = 7


def init(config: ModelConfig, seed: int) -> hk.Params:
  return training.init_state(config, OPTIMISER, INPUT_SIZE, seed).params


def zeros_like(params: hk.Params) -> hk.Params:
  return jax.tree.map(jnp.zeros_like, params)


class WidenWordsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.inputs = jnp.asarray(rng.normal(size=(9, 3, INPUT_SIZE)), jnp.float32)

  def outputs(self, config: ModelConfig, params: hk.Params) -> np.ndarray:
    return np.asarray(training.make_forward(config).apply(params, self.inputs))

  # Every two of these values are together in one.
  @parameterized.parameters(
    {"links": "dense", "content_mask": False, "num_writes": 1},
    {"links": "dense", "content_mask": True, "num_writes": 2},
    {"links": "off", "content_mask": False, "num_writes": 2},
    {"links": "off", "content_mask": True, "num_writes": 1},
  )
  def test_knows_what_it_knew(self, **options):
    config = dataclasses.replace(CONFIG, **options)
    wide = dataclasses.replace(config, word_size=7)
    params = init(config, 0)
    fresh = init(wide, 1)
    widened = dnc_jax.widen_words(params, config, fresh)
    self.assertEqual(
      jax.tree.map(jnp.shape, widened), jax.tree.map(jnp.shape, fresh)
    )
    # Where nothing is written to the new elements nothing changes at all.
    silent = dnc_jax.widen_words(params, config, zeros_like(fresh))
    before = self.outputs(config, params)
    np.testing.assert_allclose(
      self.outputs(wide, silent), before, rtol=0, atol=1e-6
    )
    if options["content_mask"]:
      # A random code is written there, and masks all but hide it.
      after = self.outputs(wide, widened)
      self.assertGreater(abs(after - before).max(), 0)
      self.assertLess(abs(after - before).max(), 0.02 * abs(before).max())

  def test_new_elements_can_be_learned(self):
    config = dataclasses.replace(CONFIG, content_mask=True)
    wide = dataclasses.replace(config, word_size=7)
    widened = dnc_jax.widen_words(init(config, 0), config, init(wide, 1))
    forward = training.make_forward(wide)
    gradient = jax.grad(
      lambda params: jnp.sum(forward.apply(params, self.inputs) ** 2)
    )(widened)
    for name, module in gradient.items():
      self.assertEqual(np.count_nonzero(module["w"]), module["w"].size, name)

  def test_the_same_length_changes_nothing(self):
    params = init(CONFIG, 0)
    widened = dnc_jax.widen_words(params, CONFIG, init(CONFIG, 1))
    jax.tree.map(np.testing.assert_array_equal, widened, params)

  @parameterized.named_parameters(
    ("shorter", {"word_size": 3}),
    ("hidden", {"word_size": 7, "hidden_size": 13}),
    ("reads", {"word_size": 7, "num_reads": 3}),
    ("outputs", {"word_size": 7, "output_size": 6}),
    ("masks", {"word_size": 7, "content_mask": True}),
  )
  def test_refuses_another_model(self, changes):
    other = init(dataclasses.replace(CONFIG, **changes), 1)
    with self.assertRaisesRegex(ValueError, "same model with words of at"):
      dnc_jax.widen_words(init(CONFIG, 0), CONFIG, other)

  def test_refuses_other_controllers(self):
    config = dataclasses.replace(CONFIG, controller="gru")
    with self.assertRaisesRegex(ValueError, "'lstm' .* got 'gru'"):
      dnc_jax.widen_words(init(config, 0), config, init(config, 1))


if __name__ == "__main__":
  absltest.main()
