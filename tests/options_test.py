"""Options of the DNC alone and together, and what is dropped in training."""

import dataclasses
import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import addressing, losses, training
from dnc_jax.config import ModelConfig
from tests.cores import numbers

T, B, I = 4, 3, 5
CONFIG = ModelConfig(
  output_size=2, hidden_size=6, memory_size=5, word_size=3, num_reads=2
)
# For what does not depend on the model, as it compiles fast.
SIMPLE = dataclasses.replace(CONFIG, controller="feed_forward", links="off")
# Each option, and how many parameters it adds.
HEARD = 6 + 1  # The controller's output and the bias.
ADDED = {
  "strength": ("oneplus", 0),
  "usage_gradient": (True, 0),
  "links": ("off", -HEARD * 6),
  "content_mask": (True, HEARD * 9),
  "deallocate": (True, 0),
  "link_sharpness": (True, HEARD * 4),
  "bfloat16_links": (True, 0),
  "layer_norm": (True, 2 * 28),
  "allocation": ("softmax", HEARD),
  "bypass_dropout": (0.5, 0),
}


def batch(seed=0):
  rng = np.random.default_rng(seed)
  return losses.Batch(
    numbers(rng, T, B, I, scale=1.0),
    rng.integers(0, 2, (T, B, 2)).astype(np.float32),
    np.ones((T, B), np.float32),
    np.zeros(B, np.int32),
  )


def state_of(config):
  return training.init_state(config, training.OptimiserConfig(), I, seed=0)


@functools.cache
def loss_and_gradients(config, only_loss=False):
  """Returns the loss of a batch and its gradients, dropping what it may.

  No gradients if only the loss is asked for, which compiles faster.
  """
  params = jax.tree.map(
    lambda x: numbers(np.random.default_rng(x.size), *x.shape, scale=0.7),
    state_of(config).params,
  )
  key = jax.random.key(0) if config.bypass_dropout else None

  def loss(params):
    _, scores = training._attempt(config, losses.bits, params, batch(), key)
    return scores.loss

  if only_loss:
    return jax.jit(loss)(params), None
  return jax.jit(jax.value_and_grad(loss))(params)


class OptionsTest(parameterized.TestCase):
  @parameterized.parameters(*ADDED)
  def test_alone_it_adds_what_it_says_and_matters(self, name):
    value, added = ADDED[name]
    config = dataclasses.replace(CONFIG, **{name: value})
    plain = training.num_params(state_of(CONFIG).params)
    self.assertEqual(
      training.num_params(state_of(config).params), plain + added
    )
    only_gradients = name in ("usage_gradient", "bfloat16_links")
    before, after = (
      loss_and_gradients(x, not only_gradients) for x in (CONFIG, config)
    )
    if only_gradients:
      # The latter rounds what is small in so few steps.
      self.assertAlmostEqual(float(before[0]), float(after[0]), places=6)
      gaps = jax.tree.map(lambda a, b: np.abs(a - b).max(), before[1], after[1])
      self.assertGreater(max(jax.tree.leaves(gaps)), 1e-7)
    else:
      self.assertNotAlmostEqual(float(before[0]), float(after[0]), places=5)

  # Some need links; every other two are together in one of these.
  @parameterized.parameters(["links"], ["link_sharpness", "bfloat16_links"])
  def test_all_work_together(self, *but):
    options = {name: x for name, (x, _) in ADDED.items() if name not in but}
    config = dataclasses.replace(CONFIG, num_writes=2, **options)
    loss, gradients = loss_and_gradients(config)
    self.assertTrue(np.isfinite(loss))
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
      self.assertTrue(np.isfinite(gradient).all(), path)
      self.assertTrue(gradient.any(), path)

  def test_softmax_allocation_goes_on_where_all_is_used(self):
    usage, gates = jnp.array([[1.0, 1.0, 0.5]]), jnp.ones([1, 1])
    found = addressing.write_allocation_weights(
      usage, gates, jnp.array([[2.0]])
    )
    e = np.exp(1)
    np.testing.assert_allclose(
      found[0, 0], np.array([1, 1, e]) / (2 + e), rtol=1e-6
    )


class BypassDropoutTest(absltest.TestCase):
  def network(self, bypass_dropout=0.5, make_controller=lambda: None):
    def forward(inputs):
      core = dnc_jax.DNC(
        2,
        access=dnc_jax.MemoryAccess(5, 3),
        controller=make_controller(),
        bypass_dropout=bypass_dropout,
      )
      return hk.dynamic_unroll(core, inputs, core.initial_state(B))[0]

    return hk.transform(forward)

  def test_without_a_key_nothing_is_dropped(self):
    network = self.network()
    inputs = batch().inputs
    params = jax.jit(network.init)(jax.random.key(0), inputs)
    plain = self.network(bypass_dropout=0)
    np.testing.assert_array_equal(
      jax.jit(network.apply)(params, None, inputs),
      jax.jit(plain.apply)(params, None, inputs),
    )

  def test_what_is_dropped(self):
    # What reaches the output of a memory that gives nothing but zeros.
    network = self.network(make_controller=_Ones)
    inputs = np.zeros((200, B, I), np.float32)
    params = jax.eval_shape(network.init, jax.random.key(0), inputs)
    params = {
      name: jax.tree.map(lambda x: jnp.zeros(x.shape), layer)
      for name, layer in params.items()
    }
    params["dnc/output_linear"]["w"] = (
      params["dnc/output_linear"]["w"].at[:8, 0].set(1)
    )
    said = jax.jit(network.apply)(params, jax.random.key(1), inputs)[..., 0]
    # Eight ones, half of them dropped, the others doubled.
    self.assertTrue(np.isin(said, 2 * np.arange(9)).all())
    np.testing.assert_allclose(said.mean(), 8, atol=0.4)
    np.testing.assert_allclose(said.std(), np.sqrt(8), atol=0.3)
    self.assertFalse((said[0] == said[1]).all())
    self.assertFalse((said[:, 0] == said[:, 1]).all())

  def test_another_seed_or_step_drops_other_things(self):
    config = dataclasses.replace(SIMPLE, bypass_dropout=0.5)
    optimiser = training.OptimiserConfig()

    @functools.cache
    def make_update(config, seed):
      return training.make_update(config, optimiser, losses.bits, seed)

    def loss(config, seed, step):
      state = state_of(config)._replace(step=jnp.array(step))
      update = make_update(config, seed)
      return float(update(state, batch(), step, 5)[1].loss)

    found = [loss(config, *x) for x in ((0, 0), (0, 0), (1, 0), (0, 1))]
    self.assertEqual(found[0], found[1])
    self.assertLen(set(found), 3)
    plain = {loss(SIMPLE, *x) for x in ((0, 0), (1, 0), (0, 1))}
    self.assertLen(plain, 1)

  def test_testing_drops_nothing(self):
    config = dataclasses.replace(SIMPLE, bypass_dropout=0.5)
    params = state_of(config).params
    answers = [
      training.make_evaluate(x, losses.bits)(params, batch(), 5)[0]
      for x in (config, SIMPLE)
    ]
    np.testing.assert_array_equal(*answers)


class _Ones(hk.RNNCore):
  """A controller that says eight ones."""

  def __call__(self, inputs, prev_state):
    return jnp.ones([len(inputs), 8]), prev_state

  def initial_state(self, batch_size):
    return jnp.zeros(() if batch_size is None else (batch_size, 0))


if __name__ == "__main__":
  absltest.main()
