"""Layers around a memory in compiled kernels, against the same by XLA."""

from unittest import mock

import haiku as hk
import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import controllers
from dnc_jax.access import MemoryAccess
from dnc_jax.native import layers
from tests import native_kernels
from tests.native_test import assert_near

pytestmark = native_kernels.needed

T, B, IN, OUT, HIDDEN = 6, 3, 5, 4, 7


class Twice(hk.RNNCore):
  """A layer that is called twice, and one that has no bias."""

  def __call__(self, inputs, prev_state):
    layer = hk.Linear(HIDDEN, name="twice")
    hidden = jnp.tanh(hk.Linear(HIDDEN, with_bias=False, name="once")(inputs))
    return jnp.tanh(layer(jnp.tanh(layer(hidden)))), prev_state

  def initial_state(self, batch_size):
    del batch_size
    return ()


class Squared(dnc_jax.DNC):
  """A DNC whose outputs hang on squares of the words read."""

  def __call__(self, inputs, prev_state):
    outputs, state = super().__call__(inputs, prev_state)
    squares = jnp.square(state.access_output).sum(axis=(1, 2))
    return outputs * squares[:, None], state


class Rows(hk.RNNCore):
  """A layer that hears more rows than there are sequences."""

  def __call__(self, inputs, prev_state):
    rows = jnp.concatenate([inputs, -inputs])
    first, second = jnp.split(hk.Linear(HIDDEN, name="rows")(rows), 2)
    return jnp.tanh(first) * second, prev_state

  def initial_state(self, batch_size):
    del batch_size
    return ()


class Again(hk.RNNCore):
  """A layer in a transformation of its own."""

  def __call__(self, inputs, prev_state):
    layer = hk.Linear(HIDDEN, name="again")
    return hk.remat(lambda x: jnp.tanh(layer(x)))(inputs), prev_state

  def initial_state(self, batch_size):
    del batch_size
    return ()


CONTROLLERS = {
  "lstm": lambda: hk.LSTM(HIDDEN),
  "gru": lambda: hk.GRU(HIDDEN),
  "deep": lambda: controllers.DeepLSTM(HIDDEN, 2),
  "feed_forward": lambda: controllers.FeedForward(HIDDEN, 2),
  "skip": lambda: controllers.Skip(hk.LSTM(HIDDEN), 3, 2),
  "twice": Twice,
  "rows": Rows,
  "again": Again,
}


def _gradients(unroll, make, num_unrolls=1, core_type=dnc_jax.DNC):
  """Outputs, and gradients of parameters and inputs."""
  run, args = _program(unroll, make, num_unrolls, core_type)
  return run(*args)


def _program(unroll, make, num_unrolls=1, core_type=dnc_jax.DNC):
  """What gives outputs and gradients, compiled, and what it is given."""

  def run(inputs):
    memory = MemoryAccess(memory_size=6, word_size=4, num_reads=2)
    core = core_type(OUT, access=memory, controller=make(), clip_value=0.3)
    state = core.initial_state(B)
    parts = []
    for part in jnp.split(inputs, num_unrolls):
      outputs, state = unroll(core, part, state)
      parts.append(outputs)
    return jnp.concatenate(parts)

  network = hk.without_apply_rng(hk.transform(run))
  inputs = jax.random.normal(jax.random.key(1), (T, B, IN))
  params = network.init(jax.random.key(0), inputs)
  weights = jax.random.normal(jax.random.key(2), (T, B, OUT))

  def loss(params, inputs):
    outputs = network.apply(params, inputs)
    return jnp.sum(weights * outputs), outputs

  run = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
  return run, (params, inputs)


class NativeLayersTest(parameterized.TestCase):
  @parameterized.parameters(*CONTROLLERS)
  def test_outputs_and_gradients_are_those_of_xla(self, name):
    make = CONTROLLERS[name]
    assert_near(
      _gradients(dnc_jax.native_unroll, make),
      _gradients(hk.dynamic_unroll, make),
    )

  def test_unrolls_of_one_core_add_up_their_gradients(self):
    make = CONTROLLERS["lstm"]
    assert_near(
      _gradients(dnc_jax.native_unroll, make, num_unrolls=3),
      _gradients(hk.dynamic_unroll, make),
    )

  @parameterized.parameters(
    ("lstm", {"lstm/linear", "access/interface", "output_linear"}),
    ("twice", {"twice/once", "access/interface", "output_linear"}),
    ("rows", {"rows/rows", "access/interface", "output_linear"}),
    ("again", {"access/interface", "output_linear"}),
  )
  def test_layers_that_a_step_calls_once_have_notes(self, name, expected):
    with mock.patch.object(layers, "begin", wraps=layers.begin) as begin:
      _gradients(dnc_jax.native_unroll, CONTROLLERS[name])
    (noted, *_), _ = begin.call_args
    self.assertLen(noted, len(expected))
    for found in noted:
      self.assertTrue(found.endswith(tuple(expected)), found)

  def test_no_step_adds_up_gradients_of_noted_layers(self):
    make = CONTROLLERS["lstm"]
    text = str(
      jax.make_jaxpr(lambda: _gradients(dnc_jax.native_unroll, make))()
    )
    num_inputs = IN + 2 * 4 + HIDDEN
    of_all = f"f32[{T * B},{num_inputs}]"
    self.assertIn(of_all, text)
    self.assertNotIn(f"f32[{num_inputs},{B}]", text)

  def test_words_may_go_through_more_than_layers(self):
    make = CONTROLLERS["lstm"]
    assert_near(
      *(
        _gradients(unroll, make, core_type=Squared)
        for unroll in (dnc_jax.native_unroll, hk.dynamic_unroll)
      )
    )

  @parameterized.parameters(dnc_jax.DNC, Squared)
  def test_no_step_is_done_again(self, core_type):
    run, args = _program(
      dnc_jax.native_unroll, CONTROLLERS["lstm"], core_type=core_type
    )
    text = run.lower(*args).compile().as_text() or ""
    for name in ("forward", "backward"):
      self.assertEqual(text.count(f'custom_call_target="dnc_jax_{name}"'), 1)


if __name__ == "__main__":
  absltest.main()
