"""Products with gradients of their own, against those without."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import ModelConfig, _products, training
from tests.float64 import Float64TestCase

# Name, function, equation, shapes of the operands.
PRODUCTS = (
  ("outer", _products.outer, "...ki,...kj->...ij", (2, 3), (2, 5)),
  ("dots", _products.dots, "...hw,...nw->...hn", (4, 3), (5, 3)),
  ("sums", _products.weighted_sums, "...rn,...nw->...rw", (4, 5), (5, 3)),
)


class ProductsTest(Float64TestCase):
  """Value and gradients are those of the plain equation."""

  def _operands(self, first, second, dtypes=(np.float64, np.float64)):
    rng = np.random.default_rng(0)
    return tuple(
      jnp.asarray(rng.normal(size=(6, 7, *shape)), dtype)
      for shape, dtype in zip((first, second), dtypes, strict=True)
    )

  def _losses(self, product, equation):
    def loss(x, y):
      return jnp.sin(product(x, y)).sum()

    def plain(x, y):
      return jnp.sin(jnp.einsum(equation, x, y)).sum()

    return loss, plain

  @parameterized.named_parameters(*PRODUCTS)
  def test_value(self, product, equation, first, second):
    operands = self._operands(first, second)
    np.testing.assert_allclose(
      jax.jit(product)(*operands), jnp.einsum(equation, *operands), rtol=1e-14
    )

  @parameterized.named_parameters(*PRODUCTS)
  def test_gradients(self, product, equation, first, second):
    operands = self._operands(first, second)
    loss, plain = self._losses(product, equation)
    actual = jax.jit(jax.grad(loss, (0, 1)))(*operands)
    for ours, theirs in zip(
      actual, jax.jit(jax.grad(plain, (0, 1)))(*operands), strict=True
    ):
      self.assertEqual(ours.shape, theirs.shape)
      np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)

  @parameterized.named_parameters(*PRODUCTS)
  def test_gradients_have_their_operands_dtypes(
    self, product, equation, first, second
  ):
    operands = self._operands(first, second, (jnp.bfloat16, np.float32))
    loss, _ = self._losses(product, equation)
    of_first, of_second = jax.jit(jax.grad(loss, (0, 1)))(*operands)
    self.assertEqual(of_first.dtype, jnp.bfloat16)
    self.assertEqual(of_second.dtype, jnp.float32)

  @parameterized.named_parameters(*PRODUCTS)
  def test_vmap_of_gradients(self, product, equation, first, second):
    operands = self._operands(first, second)
    loss, _ = self._losses(product, equation)
    gradient = jax.grad(loss, (0, 1))
    for ours, theirs in zip(
      jax.jit(jax.vmap(gradient))(*operands),
      jax.jit(gradient)(*operands),
      strict=True,
    ):
      np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)

  @parameterized.named_parameters(*PRODUCTS)
  def test_forward_over_reverse(self, product, equation, first, second):
    operands = self._operands(first, second)
    directions = self._operands(first, second)
    loss, plain = self._losses(product, equation)
    ours, theirs = (
      jax.jit(functools.partial(jax.jvp, jax.grad(f, (0, 1))))(
        operands, directions
      )[1]
      for f in (loss, plain)
    )
    for mine, other in zip(ours, theirs, strict=True):
      np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-12)


class WholeNetworkTest(absltest.TestCase):
  """What people do with gradients of a network."""

  def test_hessian_vector_product(self):
    config = ModelConfig(output_size=2, hidden_size=4, memory_size=3)
    forward = training.make_forward(config)
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(3, 2, 4)), jnp.float32)
    params = jax.jit(forward.init)(jax.random.key(0), inputs)

    @jax.jit
    @jax.grad
    def gradient(params):
      return (forward.apply(params, inputs) ** 2).sum()

    direction = jax.tree.map(np.ones_like, params)
    _, product = jax.jit(functools.partial(jax.jvp, gradient))(
      (params,), (direction,)
    )
    step = 1e-2
    ahead, behind = (
      gradient(jax.tree.map(lambda x, d, s=s: x + s * d, params, direction))
      for s in (step, -step)
    )
    for ours, front, back in zip(
      *map(jax.tree.leaves, (product, ahead, behind)), strict=True
    ):
      np.testing.assert_allclose(
        ours, (front - back) / (2 * step), rtol=0.05, atol=0.02
      )


if __name__ == "__main__":
  absltest.main()
