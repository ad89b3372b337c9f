"""What every core must do, over the table in `cores`."""

import functools
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import sparse_links
from dnc_jax.access import AccessState, TemporalLinkageState
from dnc_jax.dnc import DNCState
from dnc_jax.mann import MANNAccessState
from dnc_jax.ntm import NTMAccessState
from dnc_jax.sam import SAMAccessState
from dnc_jax.sdnc import SDNCAccessState
from dnc_jax.sparse_links import SparseLinkageState
from tests.cores import (
  CORES,
  DISTINCT,
  MEMORY_SIZE,
  make_params,
  transform,
)

T, B = 4, 3
LARGER = 2 * MEMORY_SIZE

every_core = parameterized.named_parameters((name, name) for name in CORES)
distinct_cores = parameterized.named_parameters((x, x) for x in DISTINCT)
cores_with_memory = parameterized.named_parameters(
  (name, name) for name, core in CORES.items() if core.has_memory
)


class Network(NamedTuple):
  """A core with something to do, and ways to do it.

  `apply(params, inputs, resets, state)` gives the outputs and the states of all
  steps, and so does `compiled`; `step(params, inputs, state)` does one step.
  """

  params: Any
  inputs: Any
  resets: np.ndarray
  state: Any
  apply: Any
  compiled: Any
  step: Any


def draw(name, *leading, seed=0, memory_size=MEMORY_SIZE, scale=1.0):
  """Returns random inputs of a core."""
  rng = np.random.default_rng(seed)
  return CORES[name].inputs(rng, *leading, memory_size=memory_size, scale=scale)


def make_state(name, batch_size, memory_size=MEMORY_SIZE):
  """Returns a core's initial state."""
  return transform(
    lambda: CORES[name].make(memory_size).initial_state(batch_size)
  ).apply({})


@functools.cache
def make_network(name, memory_size=MEMORY_SIZE) -> Network:
  """Returns a core of the table. Cached for what it has compiled."""

  def function(inputs, resets, state):
    core = hk.ResetCore(CORES[name].make(memory_size))
    return hk.dynamic_unroll(
      core, (inputs, resets), state, return_all_states=True
    )

  unroll = transform(function)
  inputs = draw(name, T, B, memory_size=memory_size)
  resets = np.zeros((T, B), bool)
  state = make_state(name, B, memory_size)
  return Network(
    params=make_params(unroll, inputs, resets, state),
    inputs=inputs,
    resets=resets,
    state=state,
    apply=unroll.apply,
    compiled=jax.jit(unroll.apply),
    step=transform(
      lambda inputs, state: CORES[name].make(memory_size)(inputs, state)
    ).apply,
  )


def run(network, **changes):
  """Returns the outputs and the states of all steps, with some things else."""
  n = network._replace(**changes)
  return n.compiled(n.params, n.inputs, n.resets, n.state)


def last(states):
  return jax.tree.map(lambda x: x[-1], states)


def differs(this, that):
  """Returns at which step of which sequence two runs differ: `[T, B]`."""
  unlike = jax.tree.map(
    lambda x, y: np.any(
      np.asarray(x != y), axis=tuple(range(2, x.ndim)), keepdims=False
    ),
    this,
    that,
  )
  return np.any(np.stack(jax.tree.leaves(unlike)), axis=0)


def is_float(x):
  """Returns whether numbers are real; slots and counts of steps are not."""
  return jnp.issubdtype(x.dtype, jnp.floating)


def floats(tree):
  return [x for x in jax.tree.leaves(tree) if is_float(x)]


def assert_close(this, that):
  chex.assert_trees_all_close(this, that, rtol=1e-4, atol=1e-6)


def assert_finite(tree):
  # Unlike chex.assert_tree_all_finite, this knows bfloat16.
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if not jnp.isfinite(leaf).all():
      raise AssertionError(f"{jax.tree_util.keystr(path)} is not finite.")


class RecurrenceTest(parameterized.TestCase):
  @every_core
  def test_state_keeps_its_form_and_begins_with_the_batch(self, name):
    network = make_network(name)
    _, states = run(network)
    chex.assert_trees_all_equal_structs(network.state, states)
    chex.assert_trees_all_equal_shapes_and_dtypes(network.state, last(states))
    if jax.tree.leaves(network.state):
      chex.assert_tree_shape_prefix(network.state, (B,))
      chex.assert_tree_shape_prefix(states, (T, B))

  @every_core
  def test_initial_state_without_a_batch_is_one_sequences(self, name):
    chex.assert_trees_all_equal(
      jax.tree.map(
        lambda x: jnp.broadcast_to(x[None], (B, *x.shape)),
        make_state(name, None),
      ),
      make_network(name).state,
      strict=True,
    )

  @parameterized.named_parameters(
    (f"{name}_{t}", name, t) for name in CORES for t in (0, 2)
  )
  def test_an_input_reaches_its_own_sequence_from_its_own_step_on(
    self, name, t
  ):
    network = make_network(name)

    def change(inputs, others):
      inputs = inputs.copy()
      inputs[t, 1] = others[t, 1]
      return inputs

    inputs = jax.tree.map(change, network.inputs, draw(name, T, B, seed=1))
    expected = np.zeros((T, B), bool)
    expected[t : None if CORES[name].has_state else t + 1, 1] = True
    np.testing.assert_array_equal(
      differs(run(network)[0], run(network, inputs=inputs)[0]), expected
    )

  @every_core
  def test_a_reset_forgets_one_sequence_and_leaves_the_others(self, name):
    network = make_network(name)
    t = 2
    resets = network.resets.copy()
    resets[t, 1] = True
    expected = np.zeros((T, B), bool)
    expected[t:, 1] = CORES[name].has_state
    without = run(network)
    reset = run(network, resets=resets)
    np.testing.assert_array_equal(differs(without[0], reset[0]), expected)
    # What comes after is what comes when nothing was before.
    anew = run(
      network,
      inputs=jax.tree.map(lambda x: np.roll(x, -t, axis=0), network.inputs),
    )
    assert_close(
      jax.tree.map(lambda x: x[t:, 1], reset),
      jax.tree.map(lambda x: x[: T - t, 1], anew),
    )

  @distinct_cores
  def test_two_static_unrolls_in_a_row_equal_one_dynamic_unroll(self, name):
    n = make_network(name)

    def unroll(inputs, state):
      return hk.static_unroll(CORES[name].make(MEMORY_SIZE), inputs, state)

    unroll = jax.jit(transform(unroll).apply)
    early = jax.tree.map(lambda x: x[:2], n.inputs)
    late = jax.tree.map(lambda x: x[2:], n.inputs)
    first, state = unroll(n.params, early, n.state)
    second, state = unroll(n.params, late, state)
    outputs = jax.tree.map(lambda *x: jnp.concatenate(x), first, second)
    expected, states = run(n)
    assert_close((outputs, state), (expected, last(states)))

  # One of each kind: each operation is compiled by itself, which takes long.
  @parameterized.parameters(
    "dnc_all_options", "ntm", "mann", "sdnc", "lstm", "temporal_linkage"
  )
  def test_interpreted_equals_compiled_with_numpy_or_jax_arrays(self, name):
    n = make_network(name)
    arguments = (n.params, jax.tree.map(lambda x: x[0], n.inputs), n.state)
    of_numpy = n.step(*jax.tree.map(np.asarray, arguments))
    of_jax = n.step(*jax.tree.map(jnp.asarray, arguments))
    chex.assert_trees_all_equal(of_numpy, of_jax, strict=True)
    assert_close(of_jax, jax.tree.map(lambda x: x[0], run(n)))

  @distinct_cores
  def test_networks_side_by_side_equal_each_alone(self, name):
    n = make_network(name)
    inputs = (n.inputs, draw(name, T, B, seed=1))
    params = (n.params, jax.tree.map(lambda x: x + 0.1, n.params))
    stack = lambda *trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)
    together = jax.vmap(n.compiled, in_axes=(0, 0, None, None))(
      stack(*params), stack(*inputs), n.resets, n.state
    )
    alone = [run(n, params=p, inputs=x) for p, x in zip(params, inputs)]
    assert_close(together, stack(*alone))

  @every_core
  def test_gradients_are_finite_and_reach_all_parameters_and_inputs(self, name):
    n = make_network(name)

    @jax.jit
    @functools.partial(jax.grad, allow_int=True)
    def gradients(arguments):
      outputs, _ = n.step(*arguments)
      return sum(jnp.sum(jnp.sin(x)) for x in floats(outputs))

    _, states = run(n)
    inputs = jax.tree.map(lambda x: x[0], n.inputs)
    result = gradients((n.params, inputs, last(states)))
    assert_finite(floats(result))
    for path, leaf in jax.tree_util.tree_leaves_with_path(result[:2]):
      # Write weights.
      stopped = name == "sparse_linkage" or (
        name == "freeness" and path[-1].idx == 0
      )
      self.assertEqual(np.any(leaf), not stopped, jax.tree_util.keystr(path))

  @distinct_cores
  def test_bfloat16_stays_bfloat16(self, name):
    n = make_network(name)
    half = lambda tree: jax.tree.map(
      lambda x: x.astype(jnp.bfloat16) if is_float(x) else x, tree
    )
    with jax.numpy_dtype_promotion("strict"):
      outputs, states = run(
        n, params=half(n.params), inputs=half(n.inputs), state=half(n.state)
      )
    for leaf in floats((outputs, states)):
      self.assertEqual(leaf.dtype, jnp.bfloat16)
    for leaf, expected in zip(floats(outputs), floats(run(n)[0])):
      np.testing.assert_allclose(
        np.asarray(leaf, np.float32), expected, rtol=0.1, atol=0.05
      )

  @cores_with_memory
  def test_parameters_do_not_depend_on_the_number_of_slots(self, name):
    chex.assert_trees_all_equal_shapes_and_dtypes(
      make_network(name).params, make_network(name, LARGER).params
    )


def named_weightings(state):
  """Yields the weightings over slots in a state, with what they are called."""
  match state:
    case DNCState():
      yield from named_weightings(state.access_state)
    case AccessState():
      yield state.read_weights, "read_weights"
      yield state.write_weights, "write_weights"
      if state.linkage is not None:
        yield from named_weightings(state.linkage)
    case NTMAccessState() | MANNAccessState():
      yield state.read_weights, "read_weights"
      yield state.write_weights, "write_weights"
    case SAMAccessState() | SDNCAccessState():
      slots, size = state.read_slots, state.memory.shape[-2]
      yield sparse_links.dense(slots, state.read_weights, size), "read_weights"
      slots, weights = state.write_slots, state.write_weights
      yield sparse_links.dense(slots, weights, size), "write_weights"
      if isinstance(state, SDNCAccessState):
        yield from named_weightings(state.linkage)
    case SparseLinkageState():
      links, size = state.links, state.links.successors.shape[-2]
      slots, weights = state.precedence_slots, state.precedence_weights
      yield sparse_links.dense(slots, weights, size), "precedence_weights"
      for slots, weights in (
        (links.predecessors, links.predecessor_links),
        (links.successors, links.successor_links),
      ):
        yield sparse_links.dense(slots, weights, size), "links"
    case TemporalLinkageState():
      yield state.precedence_weights, "precedence_weights"
      yield state.link, "link"
      yield state.link.swapaxes(-1, -2), "link, by column"


def usages(name, states):
  """Returns the usages in a core's state, if it has any."""
  match states:
    case DNCState():
      return usages(name, states.access_state)
    case AccessState():
      return [states.usage]
    case _:
      return [states] if name == "freeness" else []


@functools.cache
def compiled_fully(name):
  return jax.jit(make_network(name, LARGER).apply)


# With as many links as slots a step takes 20 times as long as with a few, which
# sdnc follows for all the steps.
FEWER_STEPS = {"sdnc_dense": 1_000}


class EnduranceTest(parameterized.TestCase):
  """10,000 steps, or `FEWER_STEPS`, after which all must be in its range.

  The memory is larger than the one that the parameters were made with.
  """

  @parameterized.named_parameters(
    (f"{name}_{kind}", name, *scales)
    for name in CORES
    for kind, *scales in (("usual", 1, 1), ("extreme", 100, 10))
  )
  def test_everything_stays_in_its_range(self, name, scale, params_scale):
    num_steps, batch_size = FEWER_STEPS.get(name, 10_000), 1
    params = make_network(name).params
    outputs, states = compiled_fully(name)(
      jax.tree.map(lambda x: params_scale * x, params),
      draw(
        name, num_steps, batch_size, seed=1, memory_size=LARGER, scale=scale
      ),
      np.zeros((num_steps, batch_size), bool),
      make_state(name, batch_size, LARGER),
    )
    assert_finite((outputs, states))
    for weights, kind in named_weightings(states):
      weights = np.asarray(weights)
      self.assertEqual(weights.shape[-1], LARGER, kind)
      self.assertGreaterEqual(weights.min(), -1e-6, kind)
      self.assertLessEqual(weights.sum(axis=-1).max(), 1 + 1e-5, kind)
    for usage in usages(name, states):
      self.assertGreaterEqual(np.min(usage), 0)
      self.assertLessEqual(np.max(usage), 1 + 1e-6)


if __name__ == "__main__":
  absltest.main()
