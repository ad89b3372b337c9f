"""A memory's steps in compiled kernels, against the same by XLA."""

import dataclasses
import functools
import os
import pathlib
from typing import Any
from unittest import mock

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import ModelConfig, losses, training
from dnc_jax.access import AccessState, MemoryAccess
from dnc_jax.linkage import TemporalLinkageState
from dnc_jax.native import library
from dnc_jax.native import unroll as native
from tests import interaction_test, native_kernels
from tests.weightings import links, weightings

pytestmark = native_kernels.needed

T, B, W, HIDDEN = 5, 2, 3, 6
KINDS: dict[str, dict[str, Any]] = {
  "default": {},
  # More read heads than are done with at once, and slots than are in vectors.
  "heads": {"num_reads": 6, "num_writes": 3, "memory_size": 37},
  "paper": {"strength": "oneplus", "usage_gradient": True},
  "found": {"content_mask": True, "deallocate": True, "layer_norm": True},
  "all": {
    "num_reads": 3,
    "num_writes": 2,
    "content_mask": True,
    "mask_floor": 0.25,
    "deallocate": True,
    "usage_gradient": True,
  },
  "stop_gradient": {"links": "stop_gradient", "num_writes": 2},
  "links_off": {"links": "off", "content_mask": True},
  # Slots are ordered by usage itself, and sequences shared out to threads.
  "large": {"memory_size": 300, "num_reads": 1},
}


def _access(**options):
  sizes: dict[str, Any] = {"memory_size": 10, "word_size": W, "num_reads": 2}
  return MemoryAccess(**(sizes | options))


def _state(rng, **options) -> AccessState:
  """A state that a memory may come to, of no two slots used as much."""
  memory = hk.transform(lambda: _access(**options).initial_state(B))
  zeros = memory.apply({}, None)

  def array(values):
    return jnp.asarray(values, jnp.float32)

  linkage = None
  if zeros.linkage is not None:
    linkage = TemporalLinkageState(
      array(links(rng, *zeros.write_weights.shape)),
      array(weightings(rng, *zeros.write_weights.shape)),
    )
  return AccessState(
    memory=array(rng.normal(size=zeros.memory.shape)),
    read_weights=array(weightings(rng, *zeros.read_weights.shape)),
    write_weights=array(weightings(rng, *zeros.write_weights.shape)),
    linkage=linkage,
    usage=array(rng.uniform(size=zeros.usage.shape)),
  )


def _network(unroll, **options):
  return hk.without_apply_rng(
    hk.transform(lambda x, state: unroll(_access(**options), x, state))
  )


def _all_of(unroll, *, num_steps=T, **options):
  """Outputs, last state, and gradients of all of it by all that is given."""
  rng = np.random.default_rng(0)
  state = _state(rng, **options)
  inputs = jnp.asarray(rng.normal(size=(num_steps, B, HIDDEN)), jnp.float32)
  params = _network(hk.dynamic_unroll, **options).init(
    jax.random.key(0), inputs, state
  )
  params = jax.tree.map(
    lambda x: x + jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32),
    params,
  )
  apply = _network(unroll, **options).apply

  def loss(*args):
    results = apply(*args)
    weights = np.random.default_rng(1)
    return sum(
      jnp.sum(x * weights.normal(size=x.shape).astype(np.float32))
      for x in jax.tree.leaves(results)
    ), results

  gradients, results = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(
    params, inputs, state
  )
  return {"results": results, "gradients": gradients}


def assert_near(actual, expected, tolerance=2e-5):
  for (path, x), y in zip(
    jax.tree_util.tree_leaves_with_path(expected),
    jax.tree.leaves(actual),
    strict=True,
  ):
    np.testing.assert_allclose(
      y,
      x,
      rtol=0,
      atol=tolerance * max(1e-3, np.abs(x).max(initial=0)),
      err_msg=jax.tree_util.keystr(path),
    )


class NativeUnrollTest(parameterized.TestCase):
  @parameterized.parameters(*KINDS)
  def test_outputs_states_and_gradients_are_those_of_xla(self, kind):
    options = KINDS[kind]
    assert_near(
      _all_of(dnc_jax.native_unroll, **options),
      _all_of(hk.dynamic_unroll, **options),
    )

  @parameterized.parameters(1, 4, 9, 10, 12)
  def test_states_computed_again_are_the_same(self, num_steps):
    own = functools.partial(
      _all_of, dnc_jax.native_unroll, num_steps=num_steps, **KINDS["all"]
    )
    again = own()
    with mock.patch.object(native, "_SPACING", 1):
      kept = own()
    jax.tree.map(np.testing.assert_array_equal, kept, again)

  def test_nothing_need_be_kept(self):
    rng = np.random.default_rng(0)
    state = _state(rng)
    inputs = jnp.asarray(rng.normal(size=(T, B, HIDDEN)), jnp.float32)
    kept = _network(dnc_jax.native_unroll)
    params = kept.init(jax.random.key(0), inputs, state)
    forgotten = _network(functools.partial(dnc_jax.native_unroll, keep=False))
    jax.tree.map(
      np.testing.assert_array_equal,
      jax.jit(forgotten.apply)(params, inputs, state),
      jax.jit(kept.apply)(params, inputs, state),
    )

  def test_without_what_is_kept_there_is_no_gradient(self):
    unroll = functools.partial(dnc_jax.native_unroll, keep=False)
    with self.assertRaisesRegex(ValueError, "Leave out keep=False"):
      _all_of(unroll)

  def test_other_types_are_refused(self):
    def run(inputs):
      core = _access()
      state = core.initial_state(B)
      state = state._replace(memory=state.memory.astype(jnp.bfloat16))
      return dnc_jax.native_unroll(core, inputs, state)

    network = hk.without_apply_rng(hk.transform(run))
    with self.assertRaisesRegex(ValueError, "float32 memory, got bfloat16"):
      network.apply({}, jnp.zeros([T, B, HIDDEN]))

  def test_one_pullback_can_be_taken_twice(self):
    rng = np.random.default_rng(0)
    state = _state(rng)
    inputs = jnp.asarray(rng.normal(size=(T, B, HIDDEN)), jnp.float32)
    network = _network(dnc_jax.native_unroll)
    params = network.init(jax.random.key(0), inputs, state)
    outputs, pullback = jax.vjp(
      lambda x: network.apply(params, x, state)[0], inputs
    )
    first, second = (pullback(jnp.ones_like(outputs)) for _ in range(2))
    np.testing.assert_array_equal(*first, *second)

  @parameterized.parameters("inputs", "memory", "usage")
  def test_what_is_no_number_is_not_lost(self, where):
    rng = np.random.default_rng(0)
    state = _state(rng)
    inputs = jnp.asarray(rng.normal(size=(T, B, HIDDEN)), jnp.float32)
    if where == "inputs":
      inputs = inputs.at[1, 0].set(jnp.nan)
    elif where == "memory":
      state = state._replace(memory=state.memory.at[0, 3].set(jnp.nan))
    else:
      state = state._replace(usage=state.usage.at[0, 3].set(jnp.nan))
    network = _network(dnc_jax.native_unroll)
    params = network.init(jax.random.key(0), inputs, state)
    outputs, _ = jax.jit(network.apply)(params, inputs, state)
    self.assertTrue(np.isnan(outputs[1:, 0]).all())
    self.assertTrue(np.isfinite(outputs[:, 1]).all())

  def test_what_is_dropped_is_drawn_as_by_xla(self):
    def network(unroll):
      def run(inputs):
        core = dnc_jax.DNC(2, access=_access(), bypass_dropout=0.5)
        return unroll(core, inputs, core.initial_state(B))[0]

      return hk.transform(run)

    inputs = jax.random.normal(jax.random.key(1), (T, B, HIDDEN))
    params = network(hk.dynamic_unroll).init(jax.random.key(0), inputs)
    ours, xlas = (
      jax.jit(network(unroll).apply)(params, jax.random.key(2), inputs)
      for unroll in (dnc_jax.native_unroll, hk.dynamic_unroll)
    )
    np.testing.assert_allclose(ours, xlas, atol=1e-5)

  @parameterized.parameters(
    ({"links": "sparse"}, "links 'sparse'"),
    ({"bfloat16_links": True}, "bfloat16_links"),
    ({"link_sharpness": True}, "link_sharpness"),
    ({"allocation": "softmax"}, "allocation 'softmax'"),
  )
  def test_memories_that_kernels_do_not_know_are_refused(self, options, what):
    self._assert_refused(
      lambda: _access(**options), f"do not know {what}. Leave"
    )

  def test_cores_without_a_memory_are_refused(self):
    self._assert_refused(
      lambda: dnc_jax.LSTM(2), "one AccessState in it, got 0"
    )

  def test_states_changed_between_steps_are_refused(self):
    self._assert_refused(
      lambda: hk.ResetCore(dnc_jax.DNC(2, access=_access())),
      "as hk.ResetCore does not",
      (jnp.zeros([T, B, HIDDEN]), jnp.zeros([T, B], bool)),
    )

  def _assert_refused(self, make, message, inputs=None):
    inputs = jnp.zeros([T, B, HIDDEN]) if inputs is None else inputs

    def run(inputs, unroll):
      core = make()
      return unroll(core, inputs, core.initial_state(B))

    network = hk.without_apply_rng(hk.transform(run))
    params = network.init(jax.random.key(0), inputs, hk.dynamic_unroll)
    with self.assertRaisesRegex(ValueError, message):
      network.apply(params, inputs, dnc_jax.native_unroll)


MODEL = ModelConfig(
  output_size=4, hidden_size=8, memory_size=10, word_size=W, num_reads=2
)
NATIVE = training.OptimiserConfig(kernels="native", learning_rate=1e-2)


class TrainingTest(parameterized.TestCase):
  def _losses(self, optimiser, goal, batch, model=MODEL):
    update = training.make_update(model, optimiser, goal)
    state = training.init_state(model, optimiser, 4, seed=0)
    found = []
    for step in range(5):
      state, scores = update(state, batch, step, model.memory_size)
      found.append(float(scores.loss))
    return found

  @parameterized.parameters(0, 3)
  def test_losses_are_those_of_xla(self, chunk_length):
    bits = np.random.default_rng(0).integers(0, 2, (8, B, 4))
    bits = bits.astype(np.float32)
    batch = losses.Batch(
      bits, bits, np.ones((8, B), np.float32), np.zeros(B, np.int32)
    )
    own = dataclasses.replace(NATIVE, chunk_length=chunk_length)
    xlas = dataclasses.replace(NATIVE, kernels="xla")
    ours = self._losses(own, losses.bits, batch)
    np.testing.assert_allclose(
      ours, self._losses(xlas, losses.bits, batch), rtol=1e-5
    )
    self.assertLess(ours[-1], ours[0])

  def test_so_are_those_of_acting(self):
    # Moves are rounded, and would carry a difference of rounding far.
    batch = interaction_test.episodes()._replace(
      coins=np.zeros((interaction_test.T, interaction_test.B), np.float32)
    )
    model = interaction_test.config()
    ours, xlas = (
      self._losses(
        dataclasses.replace(NATIVE, kernels=kernels),
        interaction_test.Echo(),
        batch,
        model,
      )
      for kernels in ("native", "xla")
    )
    np.testing.assert_allclose(ours, xlas, rtol=1e-5)

  def test_cores_that_kernels_are_not_for_are_refused(self):
    model = dataclasses.replace(MODEL, core="ntm")
    with self.assertRaisesRegex(
      ValueError, "kernels must be 'xla' for core 'ntm', got 'native'"
    ):
      training.make_update(model, NATIVE, losses.bits)

  def test_so_are_options_that_they_do_not_know(self):
    model = dataclasses.replace(MODEL, links="sparse")
    with self.assertRaisesRegex(ValueError, "do not know links 'sparse'"):
      training.make_update(model, NATIVE, losses.bits)

  def test_several_networks_at_once_are_refused(self):
    with self.assertRaisesRegex(ValueError, "several networks at once"):
      training.make_updates(MODEL, NATIVE, losses.bits)

  def test_several_devices_are_refused(self):
    mesh = mock.sentinel.mesh
    with self.assertRaisesRegex(ValueError, "over several devices"):
      training.make_update(MODEL, NATIVE, losses.bits, mesh=mesh)


class LibraryTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  def _build(self, **variables):
    variables = {"DNC_JAX_CACHE": str(self.folder / "own"), **variables}
    with mock.patch.dict(os.environ, variables):
      return library.build()

  def test_a_compiler_that_is_missing_is_told(self):
    with (
      mock.patch.dict(os.environ, {"PATH": "", "CXX": ""}),
      self.assertRaisesRegex(ValueError, "need a C.. compiler"),
    ):
      library.compiler()

  def test_one_that_cannot_be_run_is_told(self):
    with self.assertRaisesRegex(ValueError, "cannot run .*'/no/compiler'"):
      self._build(CXX="/no/compiler")
    self.assertEmpty(list((self.folder / "own").iterdir()))

  def test_one_that_fails_is_told_with_what_it_said(self):
    with self.assertRaisesRegex(ValueError, "could not compile"):
      self._build(CXX="false")
    self.assertEmpty(list((self.folder / "own").iterdir()))

  def test_a_folder_that_cannot_be_made_is_told(self):
    (self.folder / "file").write_text("")
    with self.assertRaisesRegex(ValueError, "DNC_JAX_CACHE"):
      self._build(DNC_JAX_CACHE=str(self.folder / "file"))

  def test_what_is_compiled_is_found_again(self):
    with mock.patch.object(library.subprocess, "run", wraps=_write) as run:
      first, second = self._build(), self._build()
    self.assertEqual(first, second)
    run.assert_called_once()
    self.assertEqual(first.parent, self.folder / "own")


def _write(command, **_):
  """Stands for a compiler."""
  pathlib.Path(command[-1]).write_text("compiled")
  return mock.Mock(returncode=0)


if __name__ == "__main__":
  absltest.main()
