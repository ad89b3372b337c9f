"""Where a memory's gradients stop, and that they are finite at the corners."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from tests import memories
from tests.float64 import Float64TestCase
from tests.memories import HIDDEN, OPTIONS, B, N


@functools.cache
def _field_gradients(usage_gradient, links):
  """Returns, by field of the state after a step, what it passes gradients to.

  That is to the parameters and to the fields of the state before.
  """
  options = {"usage_gradient": usage_gradient, "links": links}
  rng = np.random.default_rng(0)
  params = memories.random_params(rng, options)
  inputs = rng.normal(size=(1, B, HIDDEN))
  fields = memories.random_fields(rng, options)
  aims = {name: rng.normal(size=v.shape) for name, v in fields.items()}

  @jax.jit
  @jax.grad
  def gradients(values, shares):
    states = memories.unroll(options, values[0], inputs, values[1])[1]
    totals = {name: jnp.sum(aims[name] * v[0]) for name, v in states.items()}
    return sum(shares[name] * total for name, total in totals.items())

  return {
    name: gradients(
      (params, fields), {other: float(other == name) for other in fields}
    )
    for name in fields
  }


class StoppedGradientTest(Float64TestCase):
  @parameterized.parameters("usage", "write_weights", "memory", "link")
  def test_usage_passes_none_to_write_weights(self, field):
    _, fields = _field_gradients(False, "dense")[field]
    gradient = fields["write_weights"]
    np.testing.assert_array_equal(gradient, np.zeros((B, 1, N)))
    # To the other weights that usage comes from it does.
    self.assertTrue((np.abs(fields["read_weights"]) > 0).any())

  @parameterized.parameters("usage", "write_weights", "memory", "link")
  def test_usage_passes_some_where_asked(self, field):
    _, fields = _field_gradients(True, "dense")[field]
    self.assertTrue((np.abs(fields["write_weights"]) > 0).any())

  def test_links_pass_none_to_writes_where_asked(self):
    params, fields = _field_gradients(True, "stop_gradient")["link"]
    for gradient in jax.tree.leaves(params):
      np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
    names = ("memory", "usage", "read_weights", "write_weights", "link")
    for name in names:
      np.testing.assert_array_equal(
        fields[name], np.zeros_like(fields[name]), err_msg=name
      )

  def test_links_pass_some_by_default(self):
    params, _ = _field_gradients(True, "dense")["link"]
    gradient = params["memory_access/interface"]["b"]
    self.assertGreater(np.abs(gradient).max(), 1e-3)


@functools.cache
def _value_and_gradients(name):
  """Returns the compiled sum of all that an unroll gives, with gradients."""
  options = {**OPTIONS[name], "usage_gradient": True}

  def total(values):
    words, states = memories.unroll(options, *values)
    return sum(jnp.sum(v) for v in (words, *states.values()))

  return jax.jit(jax.value_and_grad(total))


class FiniteGradientTest(parameterized.TestCase):
  """Where memories that learn really are: empty, full, silent, saturated."""

  def _assert_finite(self, name, params, inputs, usage):
    fields = memories.random_fields(np.random.default_rng(0), OPTIONS[name])
    fields = jax.tree.map(np.zeros_like, fields)
    fields["usage"] += usage
    values = jax.tree.map(np.float32, (params, inputs, fields))
    total, gradients = _value_and_gradients(name)(values)
    self.assertTrue(np.isfinite(total))
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
      with self.subTest(jax.tree_util.keystr(path)):
        self.assertEqual(gradient.dtype, np.float32)
        self.assertTrue(np.isfinite(gradient).all())

  @parameterized.product(
    options=["default", "everything", "links_off"],
    usage=[0.0, 1.0],
    write_gate=[-1e4, -90.0],
  )
  def test_where_nothing_is_written_for_long(self, options, usage, write_gate):
    rng = np.random.default_rng(1)
    params = memories.random_params(rng, OPTIONS[options])
    gate = memories.direct_inputs(
      OPTIONS[options], [{"write_gate": write_gate}]
    )[0, 0]
    layer = params["memory_access/interface"]
    layer["w"] *= gate == 0
    layer["b"] = np.where(gate == 0, layer["b"], gate)
    inputs = rng.normal(size=(20, B, HIDDEN))
    self._assert_finite(options, params, inputs, usage)

  @parameterized.product(
    options=["default", "everything", "links_off"],
    scale=[0.0, 1e-20, 100.0],
    usage=[0.0, 1.0],
  )
  def test_where_parameters_are_extreme(self, options, scale, usage):
    rng = np.random.default_rng(2)
    params = memories.random_params(rng, OPTIONS[options], scale)
    inputs = rng.normal(size=(20, B, HIDDEN))
    self._assert_finite(options, params, inputs, usage)


if __name__ == "__main__":
  absltest.main()
