"""Layers' gradients of all steps at once, against those of a plain unroll."""

import functools
from unittest import mock

import haiku as hk
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import ModelConfig, _deferred, losses, training
from dnc_jax.training import OptimiserConfig
from tests import interaction_test
from tests.float64 import Float64TestCase

T, B, I, O = 5, 2, 4, 3


class Scaled(hk.Linear):
  """A layer with a call of its own."""

  def __call__(self, inputs, *, precision=None):
    return 2 * super().__call__(inputs, precision=precision)


class Core(hk.RNNCore):
  """Layers of all kinds there are, and a state that they make."""

  def __call__(self, inputs, prev_state):
    heard = jnp.concatenate([inputs, prev_state], axis=-1)
    # Large enough for weights on the left.
    large = jnp.tanh(hk.Linear(2**12, name="large")(heard))
    without = hk.Linear(O, with_bias=False, name="without")(large)
    twice = hk.Linear(O, name="twice")
    rows = hk.Linear(O, name="rows")(without[:, None])[:, 0]
    state = jnp.tanh(twice(twice(without)) + rows)
    return Scaled(O, name="scaled")(state), state

  def initial_state(self, batch_size):
    return jnp.zeros([batch_size, O])


def network(make_step):
  """Returns parameters, and a function of them and more, of a step."""

  def unroll(inputs):
    core = Core()
    return hk.dynamic_unroll(make_step(core), inputs, core.initial_state(B))[0]

  return hk.without_apply_rng(hk.transform(unroll))


class DeferredTest(Float64TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.inputs = rng.normal(size=(T, B, I))
    self.plain = network(lambda core: core)
    shapes = jax.eval_shape(
      self.plain.init, jax.random.key(0), jnp.asarray(self.inputs)
    )
    self.params = jax.tree.map(
      lambda x: jnp.asarray(rng.normal(size=x.shape) / 4), shapes
    )

  def layers(self):
    def step(inputs):
      core = Core()
      return core(inputs, core.initial_state(B))

    apply = hk.without_apply_rng(hk.transform(step)).apply
    return _deferred.layers(apply, self.params, self.inputs[0])

  def test_layers_that_are_called_once(self):
    self.assertEqual(self.layers(), {"core/large": 2**12, "core/without": O})

  def test_gradients(self):
    def plain(params):
      return jnp.sin(self.plain.apply(params, self.inputs)).sum()

    tapped = network(_deferred.tapped)

    def deferred(params, taps):
      outputs, heard = tapped.apply(params, (self.inputs, taps))
      return jnp.sin(outputs).sum(), heard

    expected = jax.jit(jax.grad(plain))(self.params)
    taps = _deferred.taps(self.layers(), (T, B))
    (rest, of_taps), heard = jax.jit(
      jax.grad(deferred, argnums=(0, 1), has_aux=True)
    )(self.params, taps)
    # What has taps gets nothing the other way.
    self.assertFalse(np.any(rest["core/large"]["w"]))
    self.assertTrue(np.any(rest["core/twice"]["w"]))
    found = _deferred.add(rest, heard, of_taps)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12),
      found,
      expected,
    )
    self.assertTrue(all(np.any(x) for x in jax.tree.leaves(found)))


class UpdateTest(parameterized.TestCase):
  def update(self, config, goal, batch, chunk_length=0):
    optimiser = OptimiserConfig(chunk_length=chunk_length)
    inputs = batch.inputs.shape[-1]
    state = training.init_state(config, optimiser, inputs, seed=0)
    update = training.make_update(config, optimiser, goal)
    return update, (state, batch, 0, config.memory_size)

  def test_episodes(self):
    config, batch = interaction_test.config(), interaction_test.episodes()
    goal = interaction_test.Echo()
    update, args = self.update(config, goal, batch)
    with mock.patch.object(_deferred, "add", side_effect=_deferred.add) as add:
      found = update(*args)
    add.assert_called_once()
    # Chunks do without taps.
    update, args = self.update(config, goal, batch, len(batch.inputs))
    expected = update(*args)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
      found,
      expected,
    )

  @parameterized.parameters((0, 0), (9, 1))
  def test_no_product_of_a_step_is_a_gradient_of_weights(self, chunk, count):
    config = ModelConfig(O, links="off", hidden_size=11, memory_size=4)
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (9, B, O)).astype(np.float32)
    batch = losses.Batch(
      bits, bits, np.ones((9, B), np.float32), np.zeros(B, np.int32)
    )
    update, args = self.update(config, losses.bits, batch, chunk)
    jaxpr = jax.make_jaxpr(update, static_argnums=3)(*args).jaxpr
    # Of the LSTM: inputs, words read and its own output, and four gates.
    words = config.num_reads * config.word_size
    shape = {O + words + 11, 4 * 11}
    found = [set(x) for x in products(jaxpr, in_a_scan=False)].count(shape)
    self.assertEqual(found, count)


def products(jaxpr, in_a_scan):
  """Yields the shapes of the products that scans do at each step."""
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if in_a_scan and name == "dot_general":
      yield equation.outvars[0].aval.shape
    for inner in jax.extend.core.jaxprs_in_params(equation.params):
      yield from products(inner, in_a_scan or name == "scan")


if __name__ == "__main__":
  absltest.main()
