"""Linear layers with the weights on the left, against the plain ones."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import ModelConfig, _linear, training
from tests.float64 import Float64TestCase


class ProductTest(Float64TestCase):
  def operands(self, dtype=np.float64):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(3, 5)), dtype), jnp.asarray(
      rng.normal(size=(5, 7)), dtype
    )

  def test_value(self):
    x, w = self.operands()
    np.testing.assert_allclose(
      jax.jit(_linear.product)(x, w), x @ w, rtol=1e-13, atol=1e-14
    )

  def test_gradients(self):
    def loss(product, *operands):
      return jnp.sin(product(*operands)).sum()

    operands = self.operands()
    both = [
      jax.jit(jax.grad(functools.partial(loss, product), (0, 1)))(*operands)
      for product in (_linear.product, jnp.matmul)
    ]
    for mine, plain in zip(*both, strict=True):
      np.testing.assert_allclose(mine, plain, rtol=1e-12, atol=1e-13)

  def test_curvature_forward_over_reverse(self):
    x, w = self.operands()

    def loss(product, w):
      return jnp.sin(product(x, w)).sum()

    mine, plain = (
      jax.jit(jax.hessian(functools.partial(loss, product)))(w)
      for product in (_linear.product, jnp.matmul)
    )
    np.testing.assert_allclose(mine, plain, rtol=1e-11, atol=1e-12)

  def test_keeps_16_bits(self):
    x, w = self.operands(jnp.bfloat16)
    grads = jax.grad(lambda x, w: _linear.product(x, w).sum(), (0, 1))(x, w)
    self.assertEqual(_linear.product(x, w).dtype, jnp.bfloat16)
    for gradient in grads:
      self.assertEqual(gradient.dtype, jnp.bfloat16)


class Core(hk.RNNCore):
  """Layers of all kinds there are: large, small, without bias, on vectors."""

  def __call__(self, inputs, prev_state):
    large = hk.Linear(200, name="large")(inputs)
    without = hk.Linear(200, with_bias=False, name="without")(large)
    return hk.Linear(3, name="small")(without), prev_state

  def initial_state(self, batch_size):
    del batch_size
    return ()


class QuickTest(parameterized.TestCase):
  def run_both(self, make_step):
    """Returns parameters and outputs, with and without quick layers."""
    inputs = np.random.default_rng(0).normal(size=(4, 2, 100))
    inputs = inputs.astype(np.float32)
    found = []
    for quick in (True, False):

      def function(inputs, quick=quick):
        core, state = make_step()
        step = _linear.quick(core) if quick else core
        return hk.dynamic_unroll(step, inputs, state)[0]

      network = hk.without_apply_rng(hk.transform(function))
      # Biases begin at 0.
      params = jax.tree.map(
        lambda x: x + 0.1, network.init(jax.random.key(0), inputs)
      )
      text = str(jax.make_jaxpr(network.apply)(params, inputs))
      found.append((params, network.apply(params, inputs), text))
    return found

  @parameterized.named_parameters(
    ("layers", Core, 2), ("lstm", lambda: hk.LSTM(50), 1)
  )
  def test_the_same_parameters_and_outputs(self, make, num_large):
    def make_step():
      core = make()
      return core, core.initial_state(2)

    mine, plain = self.run_both(make_step)
    jax.tree.map(np.testing.assert_array_equal, mine[0], plain[0])
    np.testing.assert_allclose(mine[1], plain[1], rtol=1e-4, atol=1e-5)
    self.assertEqual(mine[2].count("custom_vjp_call"), num_large)
    self.assertNotIn("custom_vjp_call", plain[2])

  def test_training_uses_it_for_large_layers(self):
    def count(hidden_size):
      network = training.make_forward(
        ModelConfig(output_size=3, links="off", hidden_size=hidden_size)
      )
      inputs = np.zeros((2, 2, 5), np.float32)
      params = jax.eval_shape(network.init, jax.random.key(0), inputs)
      text = str(jax.make_jaxpr(network.apply)(params, inputs))
      return text.count("name=product")

    self.assertGreater(count(128), count(8))


if __name__ == "__main__":
  absltest.main()
