"""What is recorded of a core is what it did, and the core stays the same."""

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import addressing, training
from dnc_jax.config import ModelConfig, make_core
from tests.cores import (
  CORES,
  DISTINCT,
  MEMORY_SIZE,
  NUM_READS,
  WORD_SIZE,
  make_params,
  numbers,
  transform,
)

T, B, I = 6, 2, 4
SIZES = {
  "output_size": 3,
  "memory_size": 5,
  "word_size": 3,
  "num_reads": 2,
  "hidden_size": 6,
}
CONFIGS = {
  "dnc": {"core": "dnc", "num_writes": 2},
  "dnc_sparse_links": {"links": "sparse", "link_size": 2},
  "ntm": {"core": "ntm", "initial_memory": "learned"},
  "mann": {"core": "mann"},
  "sam": {"core": "sam", "sparsity": 2},
  "sdnc": {"core": "sdnc", "sparsity": 2},
  "none": {"core": "none"},
}
EVERYTHING = {"memory": True, "links": True}


def inputs_of(name, seed=0):
  return CORES[name].inputs(
    np.random.default_rng(seed), T, B, memory_size=MEMORY_SIZE, scale=1.0
  )


def recording(make, **asked):
  return transform(lambda inputs: dnc_jax.record(make(), inputs, **asked))


def run(make, inputs, **asked):
  network = recording(make, **asked)
  params = make_params(network, inputs)
  return params, jax.jit(network.apply)(params, inputs)


def over_slots(slots, weights, size):
  """Returns weights over all slots, added up one by one."""
  whole = np.zeros((*np.shape(slots)[:-1], size))
  for where in np.ndindex(*np.shape(slots)):
    if slots[where] < size:
      whole[(*where[:-1], slots[where])] += weights[where]
  return whole


class RecordingTest(parameterized.TestCase):
  @parameterized.parameters(*DISTINCT)
  def test_it_tells_what_a_core_gives_and_where_it_ends(self, name):
    def make():
      return CORES[name].make(MEMORY_SIZE)

    def unroll(inputs):
      core = make()
      return hk.dynamic_unroll(core, inputs, core.initial_state(B))

    inputs = inputs_of(name)
    params, recorded = run(make, inputs, **EVERYTHING)
    plain = transform(unroll)
    chex.assert_trees_all_equal_shapes(make_params(plain, inputs), params)
    logits, last = jax.jit(plain.apply)(params, inputs)
    chex.assert_trees_all_close(recorded.logits, logits, rtol=1e-5, atol=1e-6)
    for quantity in jax.tree.leaves(recorded.trace):
      self.assertEqual(quantity.shape[:2], (T, B))
    if "slots" in str(last):  # Those are in the test of sparse memories.
      return
    told = [np.asarray(x[-1]) for x in recorded.trace.values()]
    for leaf in jax.tree.leaves(last):
      self.assertTrue(
        any(
          x.shape == leaf.shape and np.allclose(x, leaf, rtol=1e-5, atol=1e-6)
          for x in told
        )
      )

  @parameterized.parameters(*CONFIGS)
  def test_logits_are_those_of_training(self, name):
    config = ModelConfig(**SIZES, **CONFIGS[name])
    inputs = numbers(np.random.default_rng(0), T, B, I, scale=1.0)
    forward = training.make_forward(config)
    network = recording(lambda: make_core(config))
    params = make_params(forward, inputs)
    chex.assert_trees_all_equal_shapes(make_params(network, inputs), params)
    np.testing.assert_allclose(
      jax.jit(network.apply)(params, inputs).logits,
      jax.jit(forward.apply)(params, inputs),
      rtol=1e-5,
      atol=1e-6,
    )

  @parameterized.parameters(
    ("dnc", "free_gate allocation_gate write_gate read_mode"),
    ("ntm", "read_gates write_gates read_shifts write_sharpness"),
    ("mann", "keys interpolation_gate"),
    ("sam", "write_gate interpolation_gate last_access"),
    ("sdnc", "write_gate interpolation_gate read_mode precedence_weights"),
  )
  def test_names(self, name, wanted):
    _, (_, trace) = run(lambda: CORES[name].make(MEMORY_SIZE), inputs_of(name))
    always = "read_weights write_weights access_output controller_state_hidden"
    self.assertContainsSubset([*wanted.split(), *always.split()], trace)
    # Both are large.
    self.assertNoCommonElements(
      trace, ["memory", "link", "predecessors", "successor_links"]
    )
    self.assertEqual(
      trace["read_weights"].shape, (T, B, NUM_READS, MEMORY_SIZE)
    )
    self.assertEqual(trace["write_weights"].shape[:2], (T, B))
    self.assertEqual(trace["write_weights"].shape[3:], (MEMORY_SIZE,))
    for gate in ("free_gate", "read_gates", "interpolation_gate", "read_mode"):
      if gate in trace:
        self.assertBetween(trace[gate].min(), 0, trace[gate].max())
        self.assertLess(trace[gate].max(), 1)

  @parameterized.parameters("dnc", "dnc_three_write_heads")
  def test_writes_are_what_the_gates_make_of_look_up_and_allocation(self, name):
    _, (_, trace) = run(
      lambda: CORES[name].make(MEMORY_SIZE), inputs_of(name), memory=True
    )
    step = T - 1
    at = {quantity: x[step] for quantity, x in trace.items()}
    content = addressing.content_weights(
      trace["memory"][step - 1], at["write_keys"], at["write_strengths"]
    )
    allocation = addressing.write_allocation_weights(
      at["usage"], at["allocation_gate"] * at["write_gate"]
    )
    write_gate, allocation_gate = (
      np.asarray(at[gate])[..., None]
      for gate in ("write_gate", "allocation_gate")
    )
    np.testing.assert_allclose(
      at["write_weights"],
      write_gate
      * (allocation_gate * allocation + (1 - allocation_gate) * content),
      rtol=1e-5,
      atol=1e-6,
    )

  def test_writes_of_an_ntm_are_what_its_gates_make_of_them(self):
    _, (_, trace) = run(
      lambda: CORES["ntm"].make(MEMORY_SIZE), inputs_of("ntm"), memory=True
    )
    step = T - 1
    at = {quantity: x[step] for quantity, x in trace.items()}
    content = addressing.content_weights(
      trace["memory"][step - 1], at["write_keys"], at["write_strengths"]
    )
    gate = at["write_gates"][..., None]
    before = trace["write_weights"][step - 1]
    mixed = np.asarray(gate * content + (1 - gate) * before)
    moved = sum(
      np.roll(mixed, index - 1, axis=-1) * at["write_shifts"][..., [index]]
      for index in range(3)
    )
    sharp = moved ** at["write_sharpness"][..., None]
    np.testing.assert_allclose(
      at["write_weights"],
      sharp / sharp.sum(axis=-1, keepdims=True),
      rtol=1e-4,
      atol=1e-6,
    )

  @parameterized.parameters("sam", "sdnc")
  def test_weights_of_sparse_memories_are_over_all_slots(self, name):
    def make():
      return CORES[name].make(MEMORY_SIZE)

    def unroll(inputs):
      core = make()
      return hk.dynamic_unroll(
        core, inputs, core.initial_state(B), return_all_states=True
      )

    inputs = inputs_of(name)
    params, (_, trace) = run(make, inputs, memory=True)
    _, states = jax.jit(transform(unroll).apply)(params, inputs)
    state = jax.tree.map(np.asarray, states.access_state)
    told = {
      "read": (state.read_slots, state.read_weights),
      "write": (state.write_slots[:, :, None], state.write_weights[:, :, None]),
    }
    if name == "sdnc":
      linkage = state.linkage
      told["precedence"] = (
        linkage.precedence_slots,
        linkage.precedence_weights,
      )
    for what, (slots, weights) in told.items():
      expected = over_slots(slots, weights, MEMORY_SIZE)
      self.assertGreater(expected.max(), 0)
      np.testing.assert_allclose(
        trace[f"{what}_weights"], expected, rtol=1e-5, atol=1e-6
      )
      self.assertNotIn(f"{what}_slots", trace)
    np.testing.assert_allclose(
      trace["memory"], state.memory, rtol=1e-5, atol=1e-6
    )
    # What is read is the memory by these weights.
    np.testing.assert_allclose(
      trace["access_output"],
      np.asarray(trace["read_weights"]) @ np.asarray(trace["memory"]),
      rtol=1e-4,
      atol=1e-5,
    )

  def test_a_memory_without_an_interface_has_its_state_recorded(self):
    class Still(hk.RNNCore):
      output_shape = (1, WORD_SIZE)

      def __call__(self, inputs, prev_state):
        words = inputs[:, None, :WORD_SIZE]
        return words, {"seen": prev_state["seen"] + 1}

      def initial_state(self, batch_size):
        return {"seen": jnp.zeros([batch_size])}

    inputs = numbers(np.random.default_rng(0), T, B, I, scale=1.0)
    _, (_, trace) = run(
      lambda: dnc_jax.DNC(3, access=Still(name="still")), inputs
    )
    np.testing.assert_array_equal(
      trace["seen"], np.arange(1, T + 1)[:, None] * np.ones([1, B])
    )
    self.assertNotIn("free_gate", trace)


if __name__ == "__main__":
  absltest.main()
