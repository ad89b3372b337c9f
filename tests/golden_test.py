"""The whole network against google-deepmind/dnc's own numbers.

Where they come from is told in goldens/README.md.
"""

import ast
import functools
import pathlib
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import interop
from dnc_jax.access import AccessState, TemporalLinkageState
from dnc_jax.config import make_core
from dnc_jax.dnc import DNCState
from tests import native_kernels, reference_network
from tests.compiling import compile_fully
from tests.float64 import Float64TestCase

GOLDENS = pathlib.Path(__file__).parent / "goldens"
NAMES = ("dnc_one_write_head", "dnc_three_write_heads")
SIZES = (
  "memory_size",
  "word_size",
  "num_reads",
  "num_writes",
  "hidden_size",
)

# The interface layers in the order in which ours has them side by side.
INTERFACE = (
  "write_vectors",
  "erase_vectors",
  "free_gate",
  "allocation_gate",
  "write_gate",
  "read_mode",
  "write_keys",
  "write_strengths",
  "read_keys",
  "read_strengths",
)


@functools.cache
def _load(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Returns the sizes and the arrays of a golden file."""
  with np.load(GOLDENS / f"{name}.npz") as file:
    arrays = {key: file[key] for key in file.files}
  return ast.literal_eval(str(arrays.pop("config"))), arrays


def _below(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
  """Returns the arrays whose name begins with the prefix, without it."""
  return {
    name.removeprefix(prefix): array
    for name, array in arrays.items()
    if name.startswith(prefix)
  }


def _to_state(fields: dict[str, np.ndarray]) -> DNCState:
  return DNCState(
    access_output=jnp.asarray(fields["access_output"]),
    access_state=AccessState(
      memory=jnp.asarray(fields["memory"]),
      read_weights=jnp.asarray(fields["read_weights"]),
      write_weights=jnp.asarray(fields["write_weights"]),
      linkage=TemporalLinkageState(
        link=jnp.asarray(fields["link"]),
        precedence_weights=jnp.asarray(fields["precedence_weights"]),
      ),
      usage=jnp.asarray(fields["usage"]),
    ),
    controller_state=hk.LSTMState(
      hidden=jnp.asarray(fields["controller_hidden"]),
      cell=jnp.asarray(fields["controller_cell"]),
    ),
  )


def _from_state(state: DNCState) -> dict[str, jax.Array]:
  access = state.access_state
  return {
    "memory": access.memory,
    "usage": access.usage,
    "read_weights": access.read_weights,
    "write_weights": access.write_weights,
    "link": access.linkage.link,
    "precedence_weights": access.linkage.precedence_weights,
    "access_output": state.access_output,
    "controller_hidden": state.controller_state.hidden,
    "controller_cell": state.controller_state.cell,
  }


def _to_deepmind(params: hk.Params, like: dict[str, np.ndarray]):
  """Returns parameters, or their gradients, by DeepMind's names."""
  result = {
    "dnc/lstm/w_gates": params["lstm/linear"]["w"],
    "dnc/lstm/b_gates": params["lstm/linear"]["b"],
    "dnc/output_linear/w": params["dnc/output_linear"]["w"],
    "dnc/output_linear/b": params["dnc/output_linear"]["b"],
  }
  start = 0
  for layer in INTERFACE:
    name = f"dnc/memory_access/{layer}/"
    stop = start + like[name + "b"].shape[0]
    for key in ("w", "b"):
      whole = params["memory_access/interface"][key]
      result[name + key] = whole[..., start:stop]
    start = stop
  return result


_ALL_STATES = functools.partial(hk.dynamic_unroll, return_all_states=True)


def _unroll(name: str, dtype: str = "float64", by: Any = _ALL_STATES):
  """Returns ours as a function of parameters and inputs, and both of these."""
  sizes, arrays = _load(name)
  variables = {
    key: array.astype(dtype) for key, array in _below(arrays, "params/").items()
  }
  config, params = interop.from_deepmind(
    variables, memory_size=sizes["memory_size"], clip_value=sizes["clip_value"]
  )
  initial = _below(arrays, "initial/")
  initial = {key: array.astype(dtype) for key, array in initial.items()}

  @hk.without_apply_rng
  @hk.transform
  def unroll(inputs):
    core = make_core(config)
    if initial:
      state = _to_state(initial)
    else:
      state = core.initial_state(inputs.shape[1])
    return by(core, inputs, state)

  return unroll.apply, params, arrays["inputs"].astype(dtype)


class GoldenTest(Float64TestCase):
  def _assert_close(self, actual, expected, tolerance, name):
    self.assertEqual(np.shape(actual), expected.shape, msg=name)
    np.testing.assert_allclose(
      actual,
      expected,
      rtol=0,
      atol=tolerance * np.abs(expected).max(),
      err_msg=name,
    )

  @parameterized.parameters(*NAMES)
  def test_outputs_and_states_are_deepminds(self, name):
    _, arrays = _load(name)
    unroll, params, inputs = _unroll(name)
    outputs, states = compile_fully(unroll)(params, inputs)
    self.assertEqual(outputs.dtype, jnp.float64)
    self._assert_close(outputs, arrays["outputs"], 1e-10, "outputs")
    expected = _below(arrays, "state/")
    actual = _from_state(states)
    self.assertEqual(actual.keys(), expected.keys())
    for field, values in expected.items():
      with self.subTest(field=field):
        self._assert_close(actual[field], values, 1e-10, field)

  @parameterized.parameters(*NAMES)
  def test_gradients_are_deepminds(self, name):
    _, arrays = _load(name)
    unroll, params, inputs = _unroll(name)

    def loss(params, inputs):
      return jnp.sum(unroll(params, inputs)[0] * arrays["cotangent"])

    gradients, input_gradient = compile_fully(jax.grad(loss, argnums=(0, 1)))(
      params, inputs
    )
    expected = _below(arrays, "grads/")
    actual = _to_deepmind(gradients, _below(arrays, "params/"))
    actual["inputs"] = input_gradient
    self.assertEqual(actual.keys(), expected.keys())
    for variable, values in expected.items():
      with self.subTest(variable=variable):
        self._assert_close(actual[variable], values, 1e-8, variable)

  @parameterized.parameters(*NAMES)
  def test_float32_stays_near(self, name):
    _, arrays = _load(name)
    with jax.enable_x64(False):
      unroll, params, inputs = _unroll(name, dtype="float32")
      outputs, _ = compile_fully(unroll)(params, inputs)
    self.assertEqual(outputs.dtype, jnp.float32)
    self._assert_close(outputs, arrays["outputs"], 1e-4, "outputs")

  @parameterized.parameters(*NAMES)
  @native_kernels.needed
  def test_native_kernels_stay_as_near(self, name):
    _, arrays = _load(name)
    cotangent = jnp.asarray(arrays["cotangent"], jnp.float32)
    with jax.enable_x64(False):
      unroll, params, inputs = _unroll(
        name, dtype="float32", by=dnc_jax.native_unroll
      )

      def loss(params):
        outputs, state = unroll(params, inputs)
        return jnp.sum(outputs * cotangent), (outputs, state)

      gradients, (outputs, state) = jax.jit(jax.grad(loss, has_aux=True))(
        params
      )
    self._assert_close(outputs, arrays["outputs"], 1e-4, "outputs")
    # From zeros, float32 cannot tell apart how much unused slots are used.
    found = _from_state(state) if _below(arrays, "initial/") else {}
    for field, values in found.items():
      self._assert_close(values, arrays[f"state/{field}"][-1], 1e-4, field)
    actual = _to_deepmind(gradients, _below(arrays, "params/"))
    for variable, values in actual.items():
      expected = arrays[f"grads/{variable}"]
      self._assert_close(values, expected, 1e-3, variable)

  @parameterized.parameters(*NAMES)
  def test_the_slow_reference_agrees(self, name):
    sizes, arrays = _load(name)
    params = _below(arrays, "params/")
    initial = _below(arrays, "initial/")
    options = {k: sizes[k] for k in ("num_reads", "num_writes", "clip_value")}
    for b in range(sizes["batch_size"]):
      state = reference_network.zero_state(**{k: sizes[k] for k in SIZES})
      if initial:
        state = {field: values[b] for field, values in initial.items()}
      for t, inputs in enumerate(arrays["inputs"][:, b]):
        outputs, state = reference_network.dnc_step(
          params, inputs, state, **options
        )
        expected = {k: v[t, b] for k, v in _below(arrays, "state/").items()}
        self.assertEqual(state.keys(), expected.keys())
        for field, values in expected.items():
          np.testing.assert_allclose(
            state[field], values, rtol=1e-12, atol=1e-13, err_msg=field
          )
        np.testing.assert_allclose(outputs, arrays["outputs"][t, b], rtol=1e-12)


class FromDeepmindTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    sizes, arrays = _load(NAMES[1])
    self.sizes, self.variables = sizes, _below(arrays, "params/")

  def test_sizes_are_read_off_the_variables(self):
    config, _ = interop.from_deepmind(
      self.variables, memory_size=8, clip_value=20
    )
    for name in (*SIZES, "output_size"):
      self.assertEqual(getattr(config, name), self.sizes[name], msg=name)
    self.assertEqual(config.clip_value, 20)
    self.assertEqual(config.controller, "lstm")

  @parameterized.parameters(None, 0)
  def test_no_clipping_unless_told(self, clip_value):
    config, _ = interop.from_deepmind(
      self.variables, memory_size=8, clip_value=clip_value
    )
    self.assertIsNone(config.clip_value)

  def test_parameters_are_those_of_the_core(self):
    config, params = interop.from_deepmind(self.variables, memory_size=8)

    def step(inputs):
      core = make_core(config)
      return core(inputs, core.initial_state(2))

    expected = jax.eval_shape(
      hk.transform(step).init, jax.random.key(0), jnp.zeros((2, 4))
    )
    self.assertEqual(
      jax.tree.map(np.shape, dict(params)),
      jax.tree.map(lambda array: array.shape, dict(expected)),
    )

  def test_no_number_is_lost(self):
    _, params = interop.from_deepmind(self.variables, memory_size=8)
    back = _to_deepmind(params, self.variables)
    self.assertEqual(back.keys(), self.variables.keys())
    for name, array in self.variables.items():
      np.testing.assert_array_equal(back[name], array, err_msg=name)

  def test_takes_names_as_tensorflow_prints_them(self):
    _, expected = interop.from_deepmind(self.variables, memory_size=8)
    variables = {name + ":0": array for name, array in self.variables.items()}
    variables["global_step:0"] = np.array(7)
    variables["dnc/lstm/w_gates/RMSProp:0"] = np.zeros((3, 3))
    _, params = interop.from_deepmind(variables, memory_size=8)
    jax.tree.map(np.testing.assert_array_equal, params, expected)

  def test_is_found_where_the_library_shows_it(self):
    self.assertIs(dnc_jax.from_deepmind, interop.from_deepmind)

  @parameterized.parameters(
    "dnc/lstm/w_gates",
    "dnc/lstm/b_gates",
    "dnc/output_linear/w",
    "dnc/output_linear/b",
    *[f"dnc/memory_access/{layer}/w" for layer in INTERFACE],
    *[f"dnc/memory_access/{layer}/b" for layer in INTERFACE],
  )
  def test_a_missing_variable_is_named(self, name):
    del self.variables[name]
    with self.assertRaisesRegex(ValueError, f"{name}.* missing"):
      interop.from_deepmind(self.variables, memory_size=8)

  @parameterized.parameters(
    ("dnc/lstm/w_gates", (23, 32), (23, 36)),
    ("dnc/output_linear/w", (20, 3), (19, 3)),
    ("dnc/memory_access/write_keys/w", (15, 9), (9, 15)),
    ("dnc/memory_access/erase_vectors/w", (9, 5), (9, 15)),
    ("dnc/memory_access/read_mode/b", (6,), (14,)),
    ("dnc/memory_access/read_strengths/b", (2, 1), (2,)),
  )
  def test_a_misshapen_variable_is_named_with_both_shapes(
    self, name, given, wanted
  ):
    self.variables[name] = np.zeros(given)
    with self.assertRaises(ValueError) as caught:
      interop.from_deepmind(self.variables, memory_size=8)
    for part in (name, str(given), str(wanted)):
      self.assertIn(part, str(caught.exception))

  @parameterized.parameters(
    ("dnc/lstm/b_gates", (35,)),
    ("dnc/lstm/b_gates", ()),
    ("dnc/memory_access/write_vectors/b", (16,)),
    ("dnc/memory_access/write_gate/b", (0,)),
    ("dnc/memory_access/free_gate/b", (0,)),
    ("dnc/lstm/w_gates", (5, 36)),
  )
  def test_a_size_that_cannot_be_is_an_error(self, name, given):
    self.variables[name] = np.zeros(given)
    with self.assertRaises(ValueError):
      interop.from_deepmind(self.variables, memory_size=8)

  @parameterized.parameters(0, -1)
  def test_a_memory_needs_a_slot(self, memory_size):
    with self.assertRaisesRegex(ValueError, f"memory_size.*{memory_size}"):
      interop.from_deepmind(self.variables, memory_size=memory_size)


if __name__ == "__main__":
  absltest.main()
