"""Dense links as they are computed, against the paper's equations as written.

The equations are differentiated by JAX; sizes are such that small operands are
settled, and matrices are done with one at a time where a test says so.
"""

import contextlib
import functools
from unittest import mock

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import _links, _products, addressing, sharding, training
from dnc_jax.access import TemporalLinkage
from tests.float64 import Float64TestCase

T, B, H, R, N = 4, 3, 2, 2, 40
PARTS = ("link", "forward", "backward")


def plain(prev_link, prev_precedence_weights, write_weights, read_weights):
  """Links and directional weights by the equations, element by element."""
  i, j = write_weights[..., :, None], write_weights[..., None, :]
  before = prev_precedence_weights[..., None, :]
  link = ((1 - i - j) * prev_link + i * before) * (1 - jnp.eye(N)[None, None])
  return (
    link,
    jnp.sum(link[:, None] * read_weights[:, :, None, None, :], axis=-1),
    jnp.sum(link[:, None] * read_weights[:, :, None, :, None], axis=-2),
  )


def operands():
  """Links after some writes, and the weights of one more step."""
  rng = np.random.default_rng(0)
  writes, reads = (
    jnp.asarray(rng.dirichlet(np.full(N, 0.1), size))
    for size in ((T, B, H), (B, R))
  )
  link, last = jnp.zeros((B, H, N, N)), jnp.zeros((B, H, N))
  for write_weights in 0.9 * writes[:-1]:
    link = jax.jit(plain)(link, last, write_weights, reads)[0]
    last = addressing.precedence_weights(last, write_weights)
  return link, last, 0.9 * writes[-1], reads


@contextlib.contextmanager
def apart():
  """Has matrices of any size done with one after another."""
  # What was traced otherwise would be taken again.
  jax.clear_caches()
  with mock.patch.object(_links, "_FEWEST_NUMBERS_APART", 1):
    yield
  jax.clear_caches()


def weighted(function, weights):
  """A scalar in which each result counts."""
  return lambda *x: sum(
    jnp.vdot(weight, jnp.sin(part))
    for weight, part in zip(weights, function(*x), strict=True)
  )


class StepTest(Float64TestCase):
  def setUp(self):
    super().setUp()
    self.operands = operands()
    rng = np.random.default_rng(1)
    self.weights = [
      jnp.asarray(rng.normal(size=x.shape)) for x in plain(*self.operands)
    ]

  def assert_same(self, ours, theirs):
    for x, y in zip(ours, theirs, strict=True):
      self.assertEqual(x.shape, y.shape)
      np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)
      self.assertGreater(np.max(np.abs(y)), 1e-3)

  @parameterized.parameters(False, True)
  def test_links_and_where_they_lead(self, one_by_one):
    with apart() if one_by_one else contextlib.nullcontext():
      ours = jax.jit(_links.step)(*self.operands)
    self.assert_same(ours, plain(*self.operands))

  @parameterized.parameters(False, True)
  def test_gradients(self, one_by_one):
    with apart() if one_by_one else contextlib.nullcontext():
      ours = jax.jit(jax.grad(weighted(_links.step, self.weights), range(4)))(
        *self.operands
      )
    theirs = jax.jit(jax.grad(weighted(plain, self.weights), range(4)))(
      *self.operands
    )
    self.assert_same(ours, theirs)

  def test_one_by_one_is_one_by_one(self):
    lower = lambda: jax.jit(_links.step).lower(*self.operands).as_text()
    self.assertNotIn("while", lower())
    with apart():
      self.assertIn("while", lower())
      with jax.set_mesh(sharding.make_mesh()):
        self.assertNotIn("while", lower())

  @parameterized.parameters(False, True)
  def test_stopped_gradients_are_of_the_read_weights_alone(self, one_by_one):
    def stopped(*x):
      return _links.step(*x, stop_gradient=True)

    def expected(link, last, writes, reads):
      fixed = jax.lax.stop_gradient((link, last, writes))
      return plain(*fixed, reads)

    with apart() if one_by_one else contextlib.nullcontext():
      self.assert_same(jax.jit(stopped)(*self.operands), plain(*self.operands))
      ours = jax.jit(jax.grad(weighted(stopped, self.weights), range(4)))(
        *self.operands
      )
    theirs = jax.jit(jax.grad(weighted(expected, self.weights), range(4)))(
      *self.operands
    )
    self.assert_same(ours[3:], theirs[3:])
    for gradient in ours[:3]:
      np.testing.assert_array_equal(gradient, 0)

  def test_forward_over_reverse(self):
    with apart():
      loss = weighted(_links.step, self.weights)
      reference = weighted(plain, self.weights)
      rng = np.random.default_rng(2)
      way = tuple(jnp.asarray(rng.normal(size=x.shape)) for x in self.operands)
      ours, theirs = (
        jax.jit(functools.partial(jax.jvp, jax.grad(x, range(4))))(
          self.operands, way
        )[1]
        for x in (loss, reference)
      )
    for x, y in zip(ours, theirs, strict=True):
      np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11)


class LinkTest(Float64TestCase):
  """The function on its own, at as many slots as are settled."""

  def test_value_and_gradient(self):
    link, last, writes, reads = operands()

    def ours(*x):
      return (addressing.link(*x),)

    def theirs(link, last, writes):
      return plain(link, last, writes, reads)[:1]

    weights = (jnp.cos(jnp.arange(link.size)).reshape(link.shape),)
    given = link, last, writes
    values = ours(*given), theirs(*given)
    gradients = (
      jax.jit(jax.grad(weighted(x, weights), range(3)))(*given)
      for x in (ours, theirs)
    )
    for found, expected in (values, tuple(gradients)):
      for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)


class SettledTest(parameterized.TestCase):
  @parameterized.parameters(8, 40)
  def test_vectors_are_what_they_were(self, size):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 2, 5, size)).astype(np.float32)
    for x, y in zip(_products.settled(*vectors), vectors, strict=True):
      np.testing.assert_array_equal(x, y)

  def test_a_product_is_made_of_large_ones_on_a_cpu_alone(self):
    for size, platform, found in (
      (40, "cpu", True),
      (40, "cuda", False),
      (8, "cpu", False),
    ):
      vectors = [jax.ShapeDtypeStruct((5, size), np.float32)] * 2
      traced = jax.jit(_products.settled).trace(*vectors)
      text = traced.lower(lowering_platforms=(platform,)).as_text()
      with self.subTest(size=size, platform=platform):
        self.assertEqual("dot_general" in text, found)


class BFloat16Test(parameterized.TestCase):
  """Links stored in 16 bits, computed with in full."""

  def _run(self, one_by_one=False, **options):
    link, last, writes, reads = (np.float32(x) for x in operands())

    def follow(writes, reads):
      linkage = TemporalLinkage(N, H, **options)
      state = linkage.initial_state(B)
      state = state._replace(
        link=link.astype(state.link.dtype), precedence_weights=last
      )
      return linkage.follow(writes, state, reads)

    run = hk.without_apply_rng(hk.transform(follow))

    def total(*x):
      state, forward, backward = run.apply({}, *x)
      parts = (state.link.astype(np.float32), forward, backward)
      return sum(jnp.sum(jnp.sin(x)) for x in parts)

    with apart() if one_by_one else contextlib.nullcontext():
      gradients = jax.jit(jax.grad(total, (0, 1)))(writes, reads)
      return jax.jit(run.apply)({}, writes, reads), gradients

  @parameterized.parameters(False, True)
  def test_only_links_are_rounded(self, one_by_one):
    (state, *directions), gradients = self._run(one_by_one, bfloat16=True)
    (exact, *wanted), expected = self._run()
    self.assertEqual(state.link.dtype, jnp.bfloat16)
    self.assertEqual(state.precedence_weights.dtype, np.float32)
    np.testing.assert_allclose(
      state.link.astype(np.float32), exact.link, rtol=2**-7, atol=1e-6
    )
    self.assertFalse(np.array_equal(state.link.astype(np.float32), exact.link))
    for x, y in zip(
      (*directions, *gradients), (*wanted, *expected), strict=True
    ):
      self.assertEqual(x.dtype, np.float32)
      np.testing.assert_allclose(x, y, rtol=0.02, atol=0.01 * np.max(y))

  @parameterized.parameters("off", "sparse")
  def test_needs_dense_links(self, links):
    for make in (
      lambda: dnc_jax.ModelConfig(
        output_size=1, bfloat16_links=True, links=links
      ),
      lambda: hk.testing.transform_and_run(
        lambda: dnc_jax.MemoryAccess(bfloat16_links=True, links=links)
      )(),
    ):
      with self.assertRaisesRegex(ValueError, "needs dense links"):
        make()

  def test_a_state_is_smaller_by_half_of_its_links(self):
    whole, half = (
      training.state_bytes(
        dnc_jax.ModelConfig(output_size=1, memory_size=N, bfloat16_links=x)
      )
      for x in (False, True)
    )
    self.assertEqual(whole - half, 2 * N * N)


if __name__ == "__main__":
  absltest.main()
