"""The memory's cores against the slow reference, step by step."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax.access import (
  AccessState,
  Freeness,
  MemoryAccess,
  TemporalLinkage,
  TemporalLinkageState,
)
from tests import memories, references
from tests.float64 import Float64TestCase
from tests.memories import HIDDEN, OPTIONS, B, N, R, T, W
from tests.weightings import weightings


class ReferenceTest(Float64TestCase):
  @parameterized.named_parameters(*OPTIONS.items())
  def test_words_and_states_match(self, options):
    rng = np.random.default_rng(0)
    params = memories.random_params(rng, options)
    inputs = rng.normal(size=(T, B, HIDDEN))
    fields = memories.random_fields(rng, options)
    words, states = memories.unroll(options, params, inputs, fields)
    slow_words, slow_states = memories.slow_unroll(
      options, params, inputs, fields
    )
    np.testing.assert_allclose(words, slow_words, rtol=1e-10, atol=1e-12)
    self.assertEqual(states.keys(), slow_states.keys())
    for field, values in slow_states.items():
      np.testing.assert_allclose(
        states[field], values, rtol=1e-10, atol=1e-12, err_msg=field
      )

  @parameterized.named_parameters(
    *[(name, OPTIONS[name]) for name in ("default", "links_off", "everything")]
  )
  def test_gradients_match_differences_of_the_reference(self, options):
    rng = np.random.default_rng(1)
    # Few numbers, as each costs the slow reference two runs.
    steps, batch = 3, 1
    fields = memories.random_fields(rng, options)
    values = (
      memories.random_params(rng, options),
      rng.normal(size=(steps, batch, HIDDEN)),
      {field: array[:batch] for field, array in fields.items()},
    )
    aim = rng.normal(size=(steps, batch, R, W))

    def fast(values):
      # The reference, like the paper's equations, stops no gradient.
      options_of_paper = {**options, "usage_gradient": True}
      return jnp.sum(aim * memories.unroll(options_of_paper, *values)[0])

    def slow(leaves):
      moved = jax.tree.unflatten(jax.tree.structure(values), leaves)
      return np.sum(aim * memories.slow_unroll(options, *moved)[0])

    gradients = jax.tree.leaves(jax.jit(jax.grad(fast))(values))
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(values)]
    leaves = jax.tree.leaves(values)
    # One array at a time, so that none hides behind a larger one.
    for i, (path, gradient) in enumerate(zip(paths, gradients)):
      direction = rng.normal(size=leaves[i].shape)
      ends = []
      for step in (1e-6, -1e-6):
        moved = leaves[i] + step * direction
        ends.append(slow([*leaves[:i], moved, *leaves[i + 1 :]]))
      with self.subTest(jax.tree_util.keystr(path)):
        np.testing.assert_allclose(
          np.sum(gradient * direction),
          (ends[0] - ends[1]) / 2e-6,
          rtol=1e-6,
          atol=1e-7,
        )

  @parameterized.named_parameters(*OPTIONS.items())
  def test_layout_is_as_documented(self, options):
    def layout():
      return MemoryAccess(N, W, R, **options).interface_layout()

    actual = hk.testing.transform_and_run(layout)()
    sizes = {name: int(np.prod(shape)) for name, shape in actual.items()}
    self.assertEqual(
      list(sizes.items()), list(memories.layout(options).items())
    )

  @parameterized.named_parameters(*OPTIONS.items())
  def test_weights_run_with_any_number_of_slots(self, options):
    rng = np.random.default_rng(2)
    params = memories.random_params(rng, options)
    inputs = rng.normal(size=(T, B, HIDDEN))
    words, states = jax.eval_shape(
      functools.partial(memories.unroll, options, memory_size=2 * N),
      params,
      inputs,
    )
    self.assertEqual(words.shape, (T, B, R, W))
    self.assertEqual(states["usage"].shape, (T, B, 2 * N))


class PartsAloneTest(Float64TestCase):
  def test_linkage_unrolls_by_itself(self):
    rng = np.random.default_rng(0)
    writes = weightings(rng, T, B, 3, N)

    @hk.without_apply_rng
    @hk.transform
    def unroll(writes):
      core = TemporalLinkage(N, 3)
      return hk.dynamic_unroll(core, writes, core.initial_state(B))

    self.assertEmpty(unroll.init(jax.random.key(0), writes))
    outputs, state = unroll.apply({}, writes)
    for b in range(B):
      link, precedence = np.zeros((3, N, N)), np.zeros((3, N))
      for t in range(T):
        link = references.link(link, precedence, writes[t, b])
        precedence = references.precedence_weights(precedence, writes[t, b])
        np.testing.assert_allclose(outputs.link[t, b], link, atol=1e-13)
        np.testing.assert_allclose(
          outputs.precedence_weights[t, b], precedence, atol=1e-13
        )
    np.testing.assert_array_equal(state.link, outputs.link[-1])
    np.testing.assert_array_equal(
      state.precedence_weights, outputs.precedence_weights[-1]
    )

  def test_freeness_unrolls_by_itself(self):
    rng = np.random.default_rng(1)
    writes = weightings(rng, T, B, 3, N)
    gates, reads = rng.uniform(size=(T, B, R)), weightings(rng, T, B, R, N)

    @hk.without_apply_rng
    @hk.transform
    def unroll(*inputs):
      core = Freeness(N)
      return hk.dynamic_unroll(core, inputs, core.initial_state(B))

    self.assertEmpty(unroll.init(jax.random.key(0), writes, gates, reads))
    outputs, state = unroll.apply({}, writes, gates, reads)
    usage = np.zeros((B, N))
    for t in range(T):
      usage = references.over_batch(
        references.usage_after_write, usage, writes[t]
      )
      usage = references.over_batch(
        references.usage_after_read, usage, gates[t], reads[t]
      )
      np.testing.assert_allclose(outputs[t], usage, atol=1e-13)
    np.testing.assert_array_equal(state, outputs[-1])

  @parameterized.parameters(False, True)
  def test_freeness_stops_the_gradient_unless_asked(self, usage_gradient):
    rng = np.random.default_rng(2)
    inputs = (
      weightings(rng, B, 3, N),
      rng.uniform(size=(B, R)),
      weightings(rng, B, R, N),
    )
    prev_usage = rng.uniform(size=(B, N))

    @hk.testing.transform_and_run
    def gradients():
      core = Freeness(N, usage_gradient=usage_gradient)
      return jax.grad(lambda *a: core(*a)[0].sum(), argnums=(0, 1))(
        inputs, prev_usage
      )

    (writes, gate, reads), usage = gradients()
    self.assertEqual(bool((np.abs(writes) > 0).all()), usage_gradient)
    self.assertEqual(bool((writes == 0).all()), not usage_gradient)
    for gradient in (gate, reads, usage):
      self.assertTrue((np.abs(gradient) > 0).all())

  @parameterized.parameters(None, 1, 4)
  def test_initial_states_are_zero(self, batch_size):
    @hk.testing.transform_and_run
    def states():
      return [
        core.initial_state(batch_size)
        for core in (
          MemoryAccess(N, W, R, 3),
          TemporalLinkage(N, 3),
          Freeness(N),
        )
      ]

    batch = () if batch_size is None else (batch_size,)
    access, linkage, usage = states()
    expected = AccessState(
      memory=jnp.zeros((*batch, N, W)),
      read_weights=jnp.zeros((*batch, R, N)),
      write_weights=jnp.zeros((*batch, 3, N)),
      linkage=TemporalLinkageState(
        link=jnp.zeros((*batch, 3, N, N)),
        precedence_weights=jnp.zeros((*batch, 3, N)),
      ),
      usage=jnp.zeros((*batch, N)),
    )
    jax.tree.map(np.testing.assert_array_equal, access, expected)
    jax.tree.map(np.testing.assert_array_equal, linkage, expected.linkage)
    np.testing.assert_array_equal(usage, expected.usage)


class WrongOptionTest(parameterized.TestCase):
  @parameterized.parameters(
    ("memory_size", 0),
    ("word_size", 0),
    ("num_reads", 0),
    ("num_writes", -1),
    ("strength", "relu"),
    ("links", "ring"),
    ("link_size", 0),
    ("mask_floor", 1.5),
    ("mask_floor", -0.1),
    ("mask_floor", float("nan")),
  )
  def test_the_message_names_it(self, name, value):
    @hk.testing.transform_and_run
    def make():
      MemoryAccess(**{name: value})

    with self.assertRaisesRegex(ValueError, f"{name} must be.*{value}"):
      make()

  @parameterized.parameters(
    (TemporalLinkage, {"memory_size": 0}),
    (TemporalLinkage, {"memory_size": 4, "num_writes": 0}),
    (Freeness, {"memory_size": 0}),
  )
  def test_parts_check_their_sizes(self, core, options):
    with self.assertRaisesRegex(ValueError, "must be at least 1, got 0"):
      hk.testing.transform_and_run(lambda: core(**options))()


if __name__ == "__main__":
  absltest.main()
