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
from tests.cores import ALL_OPTIONS, numbers

T, B, I, O, H = 5, 2, 3, 4, 6
N, W, R = 7, 3, 2


def transform(function):
  return hk.without_apply_rng(hk.transform(function))


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

  It hears a word and writes it where memory is free; it reads what was written
  before that.
  """

  output_shape = (1, W)

  def __init__(self):
    super().__init__(name="tape")
    self._freeness = Freeness(N)
    self._linkage = TemporalLinkage(N)

  def __call__(self, inputs, prev_state):
    never = jnp.zeros_like(prev_state.write_weights)
    usage, _ = self._freeness(
      (prev_state.write_weights, never[..., 0], never), prev_state.usage
    )
    write_weights = addressing.allocation_weights(usage)[:, None]
    memory = addressing.erase_and_write(
      prev_state.memory,
      write_weights,
      jnp.ones_like(inputs)[:, None],
      inputs[:, None],
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
  def test_the_controller_hears_the_input_and_the_words_read_before(self):
    network = unroll(access=memory, controller=lambda: Echo(I + R * W))
    inputs = draw(T, B, I)
    (_, states), _ = self._run(network, inputs)
    words = np.asarray(states.access_output).reshape(T, B, R * W)
    self.assertTrue(np.any(words, axis=-1).all())
    before = np.concatenate([np.zeros([1, B, R * W]), words[:-1]])
    np.testing.assert_array_equal(
      states.controller_state, np.concatenate([inputs, before], axis=-1)
    )

  def test_what_was_read_before_makes_a_difference(self):
    network = unroll(access=memory, controller=lstm)
    inputs = draw(T, B, I)
    (outputs, states), params = self._run(network, inputs)
    state = jax.tree.map(lambda x: x[1], states)
    words = state.access_output.at[0].add(0.5)
    after = network.apply(params, inputs[2:], state)[0]
    np.testing.assert_allclose(after, outputs[2:], rtol=1e-5, atol=1e-6)
    changed = network.apply(
      params, inputs[2:], state._replace(access_output=words)
    )[0]
    np.testing.assert_array_equal(
      (changed != after).any(axis=-1), [[True, False]] * (T - 2)
    )

  def test_outputs_are_linear_in_what_is_said_and_what_is_now_read(self):
    network = unroll(access=memory, controller=lambda: Echo(I + R * W))
    (outputs, states), params = self._run(network, draw(T, B, I))
    linear = params["dnc/output_linear"]
    heard = np.concatenate(
      [
        states.controller_state,
        np.asarray(states.access_output).reshape(T, B, -1),
      ],
      axis=-1,
    )
    np.testing.assert_allclose(
      outputs, heard @ linear["w"] + linear["b"], rtol=1e-5, atol=1e-6
    )

  def test_without_words_it_is_its_controller_and_a_linear_layer(self):
    network = unroll(access=memory, controller=lstm)
    inputs = draw(T, B, I)
    params = network.init(jax.random.key(0), inputs)
    # What is written is then zero, and so is what is read.
    params["memory_access/interface"] = jax.tree.map(
      jnp.zeros_like, params["memory_access/interface"]
    )
    outputs, states = network.apply(params, inputs)
    np.testing.assert_array_equal(states.access_output, 0)

    def alone(inputs):
      core = lstm()
      said, _ = hk.dynamic_unroll(core, inputs, core.initial_state(B))
      return hk.Linear(O, name="linear")(said)

    w, b = params["lstm/linear"]["w"], params["lstm/linear"]["b"]
    out = params["dnc/output_linear"]
    expected = transform(alone).apply(
      {
        "lstm/linear": {"w": jnp.concatenate([w[:I], w[I + R * W :]]), "b": b},
        "linear": {"w": out["w"][:H], "b": out["b"]},
      },
      inputs,
    )
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)

  def test_all_axes_after_the_batch_are_one_input(self):
    network = unroll(access=memory, controller=lstm)
    inputs = draw(T, B, 2, 3)
    result, params = self._run(network, inputs)
    chex.assert_trees_all_equal(
      result, network.apply(params, inputs.reshape(T, B, 6))
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

  def _run(self, network, inputs):
    params = network.init(jax.random.key(0), inputs)
    return jax.jit(network.apply)(params, inputs), params


class ClippingTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("lstm", lstm),
    ("gru", lambda: hk.GRU(H, name="gru")),
    ("deep_lstm", lambda: controllers.DeepLSTM(H, 1)),
    ("feed_forward", lambda: controllers.FeedForward(H)),
  )
  def test_everything_is_bounded_and_only_by_the_bound(self, controller):
    inputs = draw(T, B, I, scale=10)

    def run(clip_value):
      network = unroll(
        access=SayBack, controller=controller, clip_value=lambda: clip_value
      )
      params = jax.tree.map(
        lambda x: draw(*x.shape, scale=3), self._shapes(network, inputs)
      )
      outputs, states = jax.jit(network.apply)(params, inputs)
      # Of the first step, before what was clipped is heard again.
      said = np.asarray(states.access_output)
      return {
        "outputs": np.asarray(outputs),
        "said": said,
        "state": np.stack(jax.tree.leaves(states.controller_state) or [said]),
      }

    bound = 0.25
    clipped, free, loose = run(bound), run(None), run(1e6)
    for name in clipped:
      self.assertEqual(np.abs(clipped[name]).max(), bound, name)
      self.assertGreater(np.abs(free[name]).max(), bound, name)
      np.testing.assert_array_equal(loose[name], free[name], name)
    np.testing.assert_array_equal(
      clipped["said"][0], np.clip(free["said"][0], -bound, bound)
    )

  def _shapes(self, network, inputs):
    return jax.eval_shape(network.init, jax.random.key(0), inputs)

  def test_memory_and_words_are_not_clipped(self):
    network = unroll(access=memory, controller=lstm, clip_value=lambda: 0.25)
    inputs = draw(T, B, I)
    params = network.init(jax.random.key(0), inputs)
    interface = params["memory_access/interface"]
    interface["b"] = interface["b"].at[:W].set(9.0)  # The words to write.
    _, states = network.apply(params, inputs)
    self.assertGreater(states.access_output.max(), 0.25)


class OwnModulesTest(parameterized.TestCase):
  def test_a_memory_made_of_the_librarys_parts(self):
    network = unroll(access=Tape, controller=lambda: Echo(I + W))
    inputs = draw(T, B, I)

    # The tape hears a word: of what the controller says, the input.
    class InputTape(Tape):
      def __call__(self, inputs, prev_state):
        return super().__call__(inputs[:, :W], prev_state)

    self.assertEqual(I, W)
    network = unroll(access=InputTape, controller=lambda: Echo(I + W))
    params = network.init(jax.random.key(0), inputs)
    self.assertEqual(set(params), {"dnc/output_linear"})
    outputs, states = jax.jit(network.apply)(params, inputs)
    self.assertEqual(outputs.shape, (T, B, O))
    # Slot by slot, words are written in turn ...
    np.testing.assert_allclose(
      states.access_state.memory[-1, :, :T],
      inputs.swapaxes(0, 1),
      rtol=0,
      atol=1e-4,
    )
    # ... and each time the word before is read.
    np.testing.assert_allclose(
      states.access_output[:, :, 0],
      np.concatenate([np.zeros_like(inputs[:1]), inputs[:-1]]),
      rtol=0,
      atol=1e-4,
    )

  @parameterized.named_parameters(
    ("linear", lambda: hk.IdentityCore()),
    ("vanilla", lambda: hk.VanillaRNN(H)),
    ("deep", lambda: hk.DeepRNN([hk.LSTM(H), jax.nn.relu, hk.GRU(H)])),
    ("echo", lambda: Echo(I + R * W)),
  )
  def test_any_core_is_a_controller(self, controller):
    network = unroll(access=memory, controller=controller)
    inputs = draw(T, B, I)
    params = network.init(jax.random.key(0), inputs)
    outputs, states = jax.jit(network.apply)(params, inputs)
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
  "paper": {"strength": "oneplus", "usage_gradient": True},
  "mask_without_floor": {"content_mask": True, "mask_floor": 0},
  "all_options": {**ALL_OPTIONS, "links": "dense"},
}


class GradientsTest(parameterized.TestCase):
  """Gradients stay finite at the corners that training visits."""

  @parameterized.product(variant=tuple(VARIANTS))
  def test_gradients_are_finite(self, variant):
    options = VARIANTS[variant]
    network = unroll(access=lambda: memory(**options), controller=lstm)
    inputs = draw(T, B, I)
    params = network.init(jax.random.key(0), inputs)
    _, states = jax.jit(network.apply)(params, inputs)
    used = jax.tree.map(lambda x: x[-1], states)
    fresh = jax.tree.map(jnp.zeros_like, used)

    @jax.jit
    def gradients(params, inputs, state):
      def loss(*arguments):
        return jnp.sum(jnp.square(network.apply(*arguments)[0]))

      return jax.grad(loss, argnums=(0, 1, 2))(params, inputs, state)

    with_memory = lambda state, **fields: state._replace(
      access_state=state.access_state._replace(**fields)
    )
    closed = self._with_interface(params, options, write_gate=-1e4)
    certain = jax.tree.map(lambda x: 1e3 * x, params)
    zero = jnp.zeros_like
    memory_state = used.access_state
    usage = memory_state.usage
    for corner, arguments in {
      "anew": (params, inputs, fresh),
      "zero inputs": (params, zero(inputs), fresh),
      "zero parameters": (jax.tree.map(zero, params), inputs, fresh),
      "saturated": (certain, inputs, used),
      "never written": (closed, inputs, fresh),
      "no longer written": (closed, inputs, used),
      "memory zero": (
        params,
        inputs,
        with_memory(used, memory=zero(memory_state.memory)),
      ),
      "huge memory": (
        params,
        inputs,
        with_memory(used, memory=1e6 * memory_state.memory),
      ),
      "nothing used": (params, inputs, with_memory(used, usage=zero(usage))),
      "all used": (
        params,
        inputs,
        with_memory(used, usage=jnp.ones_like(usage)),
      ),
      "all used alike": (
        params,
        inputs,
        with_memory(used, usage=jnp.full_like(usage, 0.5)),
      ),
      "freed": (
        self._with_interface(params, options, free_gate=1e4),
        inputs,
        used,
      ),
      "weights certain": (
        params,
        inputs,
        with_memory(
          used,
          read_weights=zero(memory_state.read_weights).at[..., 0].set(1),
          write_weights=zero(memory_state.write_weights).at[..., 1].set(1),
        ),
      ),
    }.items():
      with self.subTest(corner):
        chex.assert_tree_all_finite(gradients(*arguments))

  def test_a_shut_write_gate_leaves_the_memory_as_it_was(self):
    network = unroll(access=memory, controller=lstm)
    inputs = draw(T, B, I)
    params = self._with_interface(
      network.init(jax.random.key(0), inputs), {}, write_gate=-1e4
    )
    _, states = network.apply(params, inputs)
    np.testing.assert_array_equal(states.access_state.memory, 0)
    np.testing.assert_array_equal(states.access_state.usage, 0)

  def _with_interface(self, params, options, **biases):
    """Returns parameters by which some of the interface is always the same."""
    slices = transform(lambda: layout_slices(memory(**options))).apply({})
    w, b = (params["memory_access/interface"][key] for key in ("w", "b"))
    for name, bias in biases.items():
      w, b = w.at[:, slices[name]].set(0), b.at[slices[name]].set(bias)
    return {**params, "memory_access/interface": {"w": w, "b": b}}


class StateTest(parameterized.TestCase):
  def test_state_is_made_of_named_parts(self):
    network = unroll(access=memory, controller=lstm)
    inputs = draw(T, B, I)
    params = network.init(jax.random.key(0), inputs)
    _, states = network.apply(params, inputs)
    self.assertIsInstance(states, DNCState)
    self.assertIsInstance(states.access_state, AccessState)
    self.assertIsInstance(states.access_state.linkage, TemporalLinkageState)
    self.assertIsInstance(states.controller_state, hk.LSTMState)

  def test_without_links_there_is_no_linkage(self):
    network = unroll(access=lambda: memory(links="off"), controller=lstm)
    inputs = draw(T, B, I)
    params = network.init(jax.random.key(0), inputs)
    self.assertIsNone(network.apply(params, inputs)[1].access_state.linkage)


if __name__ == "__main__":
  absltest.main()
