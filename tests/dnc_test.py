"""How the DNC wires a controller to a memory."""

from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import addressing, controllers
from dnc_jax.access import (
  AccessState,
  Freeness,
  MemoryAccess,
  TemporalLinkage,
  TemporalLinkageState,
)
from dnc_jax.dnc import DNC, DNCState
from tests.cores import make_params, numbers, transform

T, B, I, O, H = 5, 2, 3, 4, 6
N, W, R = 7, 3, 2  # I = W: an input is a word.


def unroll(**arguments):
  """Returns a DNC over sequences, with its states at all steps."""

  def function(inputs, state=None):
    core = DNC(O, **{name: make() for name, make in arguments.items()})
    if state is None:
      state = core.initial_state(B)
    return hk.dynamic_unroll(core, inputs, state, return_all_states=True)

  return transform(function)


def draw(*shape, seed=0, scale=1.0):
  return numbers(np.random.default_rng(seed), *shape, scale=scale)


def run(network, params, *arguments):
  return jax.jit(network.apply)(params, *arguments)


def lstm():
  return hk.LSTM(H, name="lstm")


def memory(**options):
  return MemoryAccess(N, W, **{"num_reads": R, **options})


class Echo(hk.RNNCore):
  """A controller that says what it hears, and remembers it."""

  def __init__(self, size):
    super().__init__(name="echo")
    self._size = size

  def __call__(self, inputs, prev_state):
    del prev_state
    return inputs, inputs

  def initial_state(self, batch_size):
    return jnp.zeros([batch_size, self._size])


class SayBack(hk.RNNCore):
  """A memory that gives back at once what it is told."""

  output_shape = (1, H)

  def __call__(self, inputs, prev_state):
    return inputs[:, None], prev_state

  def initial_state(self, batch_size):
    del batch_size
    return ()


class TapeState(NamedTuple):
  """State of `Tape` after a step."""

  memory: jax.Array  # [B, N, W]
  write_weights: jax.Array  # [B, 1, N]
  usage: jax.Array  # [B, N]
  linkage: TemporalLinkageState


class Tape(hk.RNNCore):
  """A memory of a user's own, from the parts that `MemoryAccess` is made of.

  It hears a word, in the first numbers of its input, and writes it where memory
  is free; it reads what was written just before.
  """

  output_shape = (1, W)

  def __init__(self):
    super().__init__(name="tape")
    self._freeness = Freeness(N)
    self._linkage = TemporalLinkage(N)

  def __call__(self, inputs, prev_state):
    word = inputs[:, None, :W]
    never = jnp.zeros_like(prev_state.write_weights)
    usage, _ = self._freeness(
      (prev_state.write_weights, never[..., 0], never), prev_state.usage
    )
    write_weights = addressing.allocation_weights(usage)[:, None]
    memory = addressing.erase_and_write(
      prev_state.memory, write_weights, jnp.ones_like(word), word
    )
    linkage, _ = self._linkage(write_weights, prev_state.linkage)
    read_weights = addressing.directional_weights(
      linkage.link, write_weights, forward=False
    )[:, :, 0]
    words = jnp.einsum("brn,bnw->brw", read_weights, memory)
    return words, TapeState(memory, write_weights, usage, linkage)

  def initial_state(self, batch_size):
    return TapeState(
      memory=jnp.zeros([batch_size, N, W]),
      write_weights=jnp.zeros([batch_size, 1, N]),
      usage=self._freeness.initial_state(batch_size),
      linkage=self._linkage.initial_state(batch_size),
    )


class WiringTest(parameterized.TestCase):
  def test_it_follows_its_equations(self):
    network = unroll(access=memory, controller=lambda: Echo(I + R * W))
    inputs = draw(T, B, I)
    params = make_params(network, inputs)
    outputs, states = run(network, params, inputs)
    words = np.asarray(states.access_output).reshape(T, B, R * W)
    self.assertTrue(np.any(words, axis=-1).all())
    # The controller hears the input, and the words read at the step before.
    before = np.concatenate([np.zeros_like(words[:1]), words[:-1]])
    said = states.controller_state
    np.testing.assert_array_equal(said, np.concatenate([inputs, before], -1))
    # The answer is linear in what it says and in the words now read.
    linear = params["dnc/output_linear"]
    np.testing.assert_allclose(
      outputs,
      np.concatenate([said, words], axis=-1) @ linear["w"] + linear["b"],
      rtol=1e-5,
      atol=1e-6,
    )

  def test_what_was_read_before_makes_a_difference(self):
    network = unroll(access=SayBack, controller=lstm)
    inputs = draw(T, B, I)
    words, hidden, cell = jnp.asarray(draw(3, B, H, seed=1))
    state = DNCState(words[:, None], (), hk.LSTMState(hidden, cell))
    params = make_params(network, inputs, state)
    other = state.access_output.at[0].add(0.5)
    apply = jax.jit(network.apply)
    outputs, _ = apply(params, inputs, state)
    changed, _ = apply(params, inputs, state._replace(access_output=other))
    np.testing.assert_array_equal(
      (outputs != changed).any(axis=-1), [[True, False]] * T
    )

  def test_without_words_it_is_its_controller_and_a_linear_layer(self):
    network = unroll(access=memory, controller=lstm)
    inputs = draw(T, B, I)
    params = make_params(network, inputs)
    # What is written is then zero, and so is what is read.
    params["memory_access/interface"] = jax.tree.map(
      jnp.zeros_like, params["memory_access/interface"]
    )
    outputs, states = run(network, params, inputs)
    np.testing.assert_array_equal(states.access_output, 0)

    def alone(inputs):
      core = lstm()
      said, _ = hk.dynamic_unroll(core, inputs, core.initial_state(B))
      return hk.Linear(O, name="linear")(said)

    w, b = params["lstm/linear"]["w"], params["lstm/linear"]["b"]
    out = params["dnc/output_linear"]
    expected = run(
      transform(alone),
      {
        "lstm/linear": {"w": np.concatenate([w[:I], w[I + R * W :]]), "b": b},
        "linear": {"w": out["w"][:H], "b": out["b"]},
      },
      inputs,
    )
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)

  def test_all_axes_after_the_batch_are_one_input(self):
    network = unroll(access=SayBack, controller=lstm)
    inputs = draw(T, B, 2, 3)
    params = make_params(network, inputs)
    chex.assert_trees_all_equal(
      run(network, params, inputs),
      run(network, params, inputs.reshape(T, B, 6)),
    )

  def test_by_default_deepminds_memory_and_64_cells(self):
    def initial_state():
      return DNC(O).initial_state(B)

    state = transform(initial_state).apply({})
    self.assertEqual(state.access_state.memory.shape, (B, 128, 20))
    self.assertEqual(state.access_state.read_weights.shape, (B, 1, 128))
    self.assertEqual(state.access_state.write_weights.shape, (B, 1, 128))
    self.assertEqual(state.controller_state.hidden.shape, (B, 64))
    for leaf in jax.tree.leaves(state):
      np.testing.assert_array_equal(leaf, 0)


class ClippingTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("lstm", lstm),
    ("gru", lambda: hk.GRU(H, name="gru")),
    ("deep_lstm", lambda: controllers.DeepLSTM(H, 1)),
    ("feed_forward", lambda: controllers.FeedForward(H)),
  )
  def test_everything_is_bounded_and_only_by_the_bound(self, controller):
    inputs = draw(T, B, I, scale=10)

    def extremes(clip_value):
      network = unroll(
        access=SayBack, controller=controller, clip_value=lambda: clip_value
      )
      params = make_params(network, inputs, scale=3)
      outputs, states = run(network, params, inputs)
      said = np.asarray(states.access_output)
      return {
        "outputs": np.asarray(outputs),
        "said": said,
        "state": np.stack(jax.tree.leaves(states.controller_state) or [said]),
      }

    bound = 0.25
    clipped, free, loose = (extremes(c) for c in (bound, None, 1e6))
    for name in clipped:
      self.assertEqual(np.abs(clipped[name]).max(), bound, name)
      self.assertGreater(np.abs(free[name]).max(), bound, name)
      np.testing.assert_allclose(
        loose[name], free[name], rtol=1e-5, atol=1e-6, err_msg=name
      )
    # Of the first step, before what was clipped is heard again.
    np.testing.assert_allclose(
      clipped["said"][0],
      np.clip(free["said"][0], -bound, bound),
      rtol=1e-5,
      atol=1e-6,
    )

  def test_memory_and_words_are_not_clipped(self):
    network = unroll(access=memory, controller=lstm, clip_value=lambda: 0.25)
    inputs = draw(T, B, I)
    params = make_params(network, inputs)
    params["memory_access/interface"]["b"][:W] = 9  # The words to write.
    _, states = run(network, params, inputs)
    self.assertGreater(states.access_output.max(), 0.25)


class OwnModulesTest(parameterized.TestCase):
  def test_a_memory_made_of_the_librarys_parts(self):
    network = unroll(access=Tape, controller=lambda: Echo(I + W))
    inputs = draw(T, B, I)
    params = make_params(network, inputs)
    self.assertEqual(set(params), {"dnc/output_linear"})
    outputs, states = run(network, params, inputs)
    self.assertEqual(outputs.shape, (T, B, O))
    # Each word is written to a slot of its own ...
    written = np.asarray(states.access_state.write_weights)[:, :, 0]
    slots = written.argmax(axis=-1)
    for b in range(B):
      self.assertLen(set(slots[:, b]), T)
      np.testing.assert_allclose(
        states.access_state.memory[-1, b, slots[:, b]],
        inputs[:, b],
        rtol=0,
        atol=1e-4,
      )
    # ... and as it is written, the one before is read.
    np.testing.assert_allclose(
      states.access_output[:, :, 0],
      np.concatenate([np.zeros_like(inputs[:1]), inputs[:-1]]),
      rtol=0,
      atol=1e-4,
    )

  @parameterized.named_parameters(
    ("identity", hk.IdentityCore),
    ("vanilla", lambda: hk.VanillaRNN(H)),
    ("deep", lambda: hk.DeepRNN([hk.LSTM(H), jax.nn.relu, hk.GRU(H)])),
    ("echo", lambda: Echo(I + R * W)),
  )
  def test_any_core_is_a_controller(self, controller):
    network = unroll(access=memory, controller=controller)
    inputs = draw(T, B, I)
    outputs, states = run(network, make_params(network, inputs), inputs)
    chex.assert_tree_all_finite((outputs, states))
    self.assertEqual(outputs.shape, (T, B, O))
    self.assertTrue(np.any(states.access_output))


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"output_size": 0}, "output_size must be at least 1, got 0"),
    ({"output_size": -3}, "output_size must be at least 1, got -3"),
    ({"clip_value": 0}, "clip_value must be more than 0, got 0.*use None"),
    ({"clip_value": -1.5}, "clip_value must be more than 0, got -1.5"),
    ({"clip_value": float("nan")}, "clip_value must be more than 0, got nan"),
  )
  def test_values_out_of_range_are_refused(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      transform(lambda: DNC(**{"output_size": O, **arguments})).init(None)


def layout_slices(access):
  """Returns where each quantity is in the interface."""
  stops = np.cumsum([np.prod(s) for s in access.interface_layout().values()])
  starts = [0, *stops[:-1]]
  return {
    name: slice(int(start), int(stop))
    for name, start, stop in zip(access.interface_layout(), starts, stops)
  }


VARIANTS = {
  "default": {},
  "options": {
    "num_writes": 2,
    "strength": "oneplus",
    "usage_gradient": True,
    "content_mask": True,
    "mask_floor": 0,
    "deallocate": True,
    "link_sharpness": True,
    "layer_norm": True,
    "allocation": "softmax",
  },
}


def with_interface(params, options, **biases):
  """Returns parameters by which some of the interface is always the same."""
  slices = transform(lambda: layout_slices(memory(**options))).apply({})
  normed = options.get("layer_norm")
  # The layer whose say is the last, and what it scales and moves by.
  layer = f"memory_access/interface{'_norm' if normed else ''}"
  scale, offset = ("scale", "offset") if normed else ("w", "b")
  changed = {name: x.copy() for name, x in params[layer].items()}
  for name, bias in biases.items():
    changed[scale][..., slices[name]] = 0
    changed[offset][slices[name]] = bias
  return {**params, layer: changed}


class GradientsTest(parameterized.TestCase):
  @parameterized.parameters(*VARIANTS)
  def test_gradients_are_finite_at_every_corner(self, variant):
    options = VARIANTS[variant]
    network = unroll(access=lambda: memory(**options), controller=lstm)
    inputs = draw(T, B, I)
    params = make_params(network, inputs)

    @jax.jit
    def gradients(params, inputs, state):
      def loss(*arguments):
        outputs, states = network.apply(*arguments)
        return jnp.sum(jnp.square(outputs)), states

      return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(
        params, inputs, state
      )

    anew = transform(
      lambda: DNC(O, access=memory(**options), controller=lstm()).initial_state(
        B
      )
    ).apply({})
    _, states = gradients(params, inputs, anew)
    used = jax.tree.map(lambda x: x[-1], states)
    access = used.access_state

    def used_but(**fields):
      return used._replace(access_state=access._replace(**fields))

    zero, one = np.zeros_like, np.ones_like
    closed = with_interface(params, options, write_gate=-1e4)
    freeing = with_interface(params, options, free_gate=1e4)
    first_slot = np.eye(N, dtype=np.float32)[0]
    corners = {
      "anew": (params, inputs, anew),
      "zero inputs": (params, zero(inputs), anew),
      "zero parameters": (jax.tree.map(zero, params), inputs, anew),
      "saturated": (jax.tree.map(lambda x: 1e3 * x, params), inputs, used),
      "never written": (closed, inputs, anew),
      "no longer written": (closed, inputs, used),
      "freed": (freeing, inputs, used),
      "memory zero": (params, inputs, used_but(memory=zero(access.memory))),
      "memory huge": (params, inputs, used_but(memory=1e6 * access.memory)),
      "none used": (params, inputs, used_but(usage=zero(access.usage))),
      "all used": (params, inputs, used_but(usage=one(access.usage))),
      "used alike": (params, inputs, used_but(usage=0.5 * one(access.usage))),
      "weights certain": (
        params,
        inputs,
        used_but(
          read_weights=zero(access.read_weights) + first_slot,
          write_weights=zero(access.write_weights) + first_slot,
        ),
      ),
    }
    for corner, arguments in corners.items():
      with self.subTest(corner):
        result, _ = gradients(*arguments)
        chex.assert_tree_all_finite(result)
        # A gradient of zero throughout would say nothing.
        self.assertTrue(
          np.any(result[0]["dnc/output_linear"]["b"])
          or (corner == "zero parameters")
        )
    # What the corners are called is what they are.
    _, states = gradients(*corners["never written"])
    np.testing.assert_array_equal(states.access_state.memory, 0)
    np.testing.assert_array_equal(states.access_state.usage, 0)


class StateTest(parameterized.TestCase):
  @parameterized.parameters("dense", "stop_gradient", "off")
  def test_state_is_made_of_named_parts(self, links):
    network = unroll(access=lambda: memory(links=links), controller=lstm)
    inputs = draw(T, B, I)
    _, states = jax.eval_shape(
      network.apply, make_params(network, inputs), inputs
    )
    self.assertIsInstance(states, DNCState)
    self.assertIsInstance(states.access_state, AccessState)
    self.assertIsInstance(states.controller_state, hk.LSTMState)
    self.assertIsInstance(
      states.access_state.linkage,
      type(None) if links == "off" else TemporalLinkageState,
    )


if __name__ == "__main__":
  absltest.main()
