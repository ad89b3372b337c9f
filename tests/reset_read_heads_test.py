"""A trained model's read heads start anew, and all else stays."""

import dataclasses
from typing import Any

import haiku as hk
import jax
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import training
from dnc_jax.config import ModelConfig

CONFIG = ModelConfig(
  output_size=5, hidden_size=12, memory_size=6, word_size=4, num_reads=2
)


def init(config: ModelConfig, seed: int) -> hk.Params:
  return training.init_state(config, training.OptimiserConfig(), 7, seed).params


class ResetReadHeadsTest(parameterized.TestCase):
  @parameterized.parameters(
    {},
    {"links": "off", "content_mask": True},
    {"num_writes": 2, "content_mask": True},
    {"controller": "gru"},
  )
  def test_only_where_they_look(self, **options):
    config = dataclasses.replace(CONFIG, **options)
    params, fresh = init(config, 0), init(config, 1)
    before = jax.tree.map(np.array, params)
    reset = dnc_jax.reset_read_heads(params, config, fresh)
    jax.tree.map(np.testing.assert_array_equal, params, before)

    name = "memory_access/interface"
    jax.tree.map(
      np.testing.assert_array_equal,
      {key: x for key, x in reset.items() if key != name},
      {key: x for key, x in params.items() if key != name},
    )
    weights = reset[name]["w"]
    old = (weights == params[name]["w"]).all(axis=0)
    new = (weights == fresh[name]["w"]).all(axis=0)
    np.testing.assert_array_equal(old, ~new)
    # Two heads' keys, strengths and masks.
    per_head = 1 + config.word_size * (1 + config.content_mask)
    self.assertEqual(new.sum(), 2 * per_head)

    # The read heads look elsewhere; what is first written is the same.
    def first(params):
      def step(inputs):
        core = dnc_jax.make_core(config)
        return core(inputs, core.initial_state(3))[1].access_state

      run = hk.without_apply_rng(hk.transform(step))
      return jax.jit(run.apply)(params, np.ones((3, 7), np.float32))

    then, now = first(params), first(reset)
    np.testing.assert_array_equal(now.memory, then.memory)
    self.assertGreater(abs(now.read_weights - then.read_weights).max(), 0)

  @parameterized.parameters((0,), (1,))
  def test_a_head_that_is_kept(self, kept):
    params, fresh = init(CONFIG, 0), init(CONFIG, 1)
    reset = dnc_jax.reset_read_heads(params, CONFIG, fresh, (kept,))

    def first(params):
      def step(inputs):
        core = dnc_jax.make_core(CONFIG)
        state: Any = core.initial_state(3)
        memory = np.random.default_rng(0).random((3, 6, 4), np.float32)
        state = state._replace(
          access_state=state.access_state._replace(memory=memory)
        )
        return core(inputs, state)[1].access_state.read_weights

      run = hk.without_apply_rng(hk.transform(step))
      return jax.jit(run.apply)(params, np.ones((3, 7), np.float32))

    moved = abs(first(reset) - first(params)).max(axis=(0, 2))
    self.assertEqual(moved[kept], 0)
    self.assertGreater(moved[1 - kept], 1e-4)

  @parameterized.parameters((-1,), (2,))
  def test_refuses_a_head_that_is_not_there(self, head):
    params = init(CONFIG, 0)
    with self.assertRaisesRegex(
      ValueError, f"kept_heads must be from 0 to 1, got {head}"
    ):
      dnc_jax.reset_read_heads(params, CONFIG, params, (head,))

  def test_refuses_another_model(self):
    other = init(dataclasses.replace(CONFIG, word_size=5), 1)
    with self.assertRaisesRegex(ValueError, "those of the same model"):
      dnc_jax.reset_read_heads(init(CONFIG, 0), CONFIG, other)


if __name__ == "__main__":
  absltest.main()
