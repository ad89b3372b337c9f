"""Acting: any core in any environment, inside one scan."""

from typing import NamedTuple
from unittest import mock

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import ModelConfig, backward, training
from dnc_jax.config import make_core
from dnc_jax.interaction import Acting, Episodes
from dnc_jax.losses import Scores
from dnc_jax.training import OptimiserConfig

T, B, I, O = 6, 3, 4, 2


class Echo(NamedTuple):
  """Hears what was answered before; right if the answer is the world's."""

  def start(self, world):
    return jnp.zeros([len(world), O])

  def hear(self, state, inputs, mask):
    return jnp.asarray(inputs).at[:, :O].add(state * mask[:, None])

  def act(self, world, state, logits, mask, coins):
    del state
    error = ((logits - world[:, None]) ** 2).sum(axis=-1) * mask
    # The move is discrete, as moves are: no gradient flows through it.
    move = jnp.where(coins[:, None] < 0.5, 0.0, jnp.round(1000 * logits))
    return move, {"error": error, "move": move}

  def scores(self, outcomes):
    error = outcomes["error"]
    return Scores(
      loss=error.mean(),
      right=(error < 0.01).sum(axis=0),
      count=jnp.full(error.shape[1], len(error)),
    )


def config(**options):
  return ModelConfig(output_size=O, hidden_size=6, memory_size=4, **options)


def episodes(seed=0):
  rng = np.random.default_rng(seed)
  return Episodes(
    inputs=rng.normal(size=(T, B, I)).astype(np.float32),
    mask=(rng.random((T, B)) < 0.7).astype(np.float32),
    coins=rng.random((T, B), dtype=np.float32),
    world=np.float32(rng.normal(size=B)),
    lesson=np.zeros(B, np.int32),
  )


def params_of(model):
  init = jax.jit(training.make_forward(model).init)
  return init(jax.random.key(0), jnp.zeros([1, 1, I]))


CONFIGS = (
  ("lstm", config()),
  ("deep_lstm", config(controller="deep_lstm", num_layers=2)),
  ("variants", config(links="off", content_mask=True, deallocate=True)),
)


class RolloutTest(parameterized.TestCase):
  @parameterized.named_parameters(*CONFIGS)
  def test_parameters_are_the_cores(self, model):
    rollout = training.make_rollout(model, Echo())
    params = jax.eval_shape(rollout.init, jax.random.key(0), episodes())
    expected = jax.tree.map(jnp.shape, params_of(model))
    self.assertEqual(jax.tree.map(jnp.shape, params), expected)

  @parameterized.named_parameters(*CONFIGS)
  def test_is_what_a_loop_does(self, model):
    batch, params, environment = episodes(), params_of(model), Echo()

    def step(inputs, state):
      return make_core(model)(inputs, state)

    start = hk.transform(lambda: make_core(model).initial_state(B))
    core = hk.without_apply_rng(hk.transform(step))
    apply, act = jax.jit(core.apply), jax.jit(environment.act)
    state = start.apply({}, None)
    world = environment.start(batch.world)
    expected = []
    for inputs, mask, coins in zip(*batch[:3], strict=True):
      heard = environment.hear(world, jnp.asarray(inputs), mask)
      logits, state = apply(params, heard, state)
      world, outcome = act(batch.world, world, logits, mask, coins)
      expected.append((logits, outcome["move"]))
    rollout = training.make_rollout(model, environment)
    logits, outcomes = jax.jit(rollout.apply)(params, batch)
    for found, wanted in zip(
      (logits, outcomes["move"]), zip(*expected, strict=True), strict=True
    ):
      np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-4, atol=1e-5)
    # Moves were heard: without them the answers are others.
    forward = training.make_forward(model)
    deaf = jax.jit(forward.apply)(params, batch.inputs)
    self.assertGreater(np.abs(np.asarray(deaf - logits)).max(), 1e-3)

  def test_any_core_acts(self):
    def rollout(batch):
      acting = Acting(hk.LSTM(O), Echo(), batch.world)
      return hk.dynamic_unroll(
        acting, tuple(batch[:3]), acting.initial_state(B)
      )[0]

    transformed = hk.without_apply_rng(hk.transform(rollout))
    params = jax.jit(transformed.init)(jax.random.key(0), episodes())
    logits, outcomes = jax.jit(transformed.apply)(params, episodes())
    self.assertEqual(logits.shape, (T, B, O))
    self.assertEqual(outcomes["error"].shape, (T, B))


class TrainingTest(absltest.TestCase):
  def test_learns_in_an_environment(self):
    model, optimiser = config(), OptimiserConfig("adam", learning_rate=0.01)
    update = training.make_update(model, optimiser, Echo())
    state = training.init_state(model, optimiser, I, seed=0)
    losses = []
    for step in range(150):
      state, scores = update(state, episodes(), step, 4)
      losses.append(float(scores.loss))
    self.assertLess(losses[-1], 0.3 * losses[0])
    evaluate = training.make_evaluate(model, Echo())
    outcomes, scores = evaluate(state.params, episodes(), 4)
    self.assertEqual(outcomes["move"].shape, (T, B, O))
    self.assertLess(float(scores.loss), 0.3 * losses[0])

  def test_recomputing_changes_nothing(self):
    small = config()
    self.assertTrue(backward.is_small(small, B))
    large = config(word_size=2**14)
    self.assertFalse(backward.is_small(large, B))

    def loss(params, model, chunk_length=0):
      rollout = training.make_rollout(model, Echo(), chunk_length)
      return Echo().scores(rollout.apply(params, episodes())[1]).loss

    params = params_of(small)

    def gradient(*options):
      # A function of its own each time, so that it is traced anew.
      return jax.jit(jax.grad(lambda x: loss(x, small, *options)))(params)

    expected = gradient()
    with mock.patch.object(backward, "is_small", return_value=False):
      found = gradient()
    in_chunks = gradient(4)
    for other in (found, in_chunks):
      for a, b in zip(*map(jax.tree.leaves, (other, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
  absltest.main()
