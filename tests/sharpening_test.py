"""Sharper weights: their limits, and what is left alone."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import sharpening
from tests.cores import transform


class SharpenTest(parameterized.TestCase):
  @parameterized.parameters(1.0, 2.0, 50.0, 1000.0)
  def test_stays_finite(self, sharpness):
    weights = jnp.array([[[0.6, 0.4, 0.0], [1.0, 0.0, 0.0], [1 / 3] * 3]])
    gammas = jnp.full([1, 3], sharpness)
    value, gradient = jax.value_and_grad(
      lambda w, g: jnp.sum(
        sharpening.sharpen(w, g) * jnp.arange(3.0)[None, None]
      ),
      argnums=(0, 1),
    )(weights, gammas)
    self.assertTrue(np.isfinite(value))
    for x in gradient:
      self.assertTrue(np.isfinite(x).all())
    sharp = sharpening.sharpen(weights, gammas)
    np.testing.assert_allclose(sharp.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(sharp[0, 2], 1 / 3, rtol=1e-5)
    self.assertGreaterEqual(float(sharp[0, 0, 0]), 0.6 - 1e-6)


class SharpenLinksTest(absltest.TestCase):
  def test_a_little_below_zero_is_zero(self):
    found = sharpening.sharpen_links(
      jnp.array([0.5, 0.25, -1e-9]), jnp.array(3.0)
    )
    np.testing.assert_allclose(found, [0.75 * 8 / 9, 0.75 / 9, 0], atol=1e-6)

  def test_one_changes_nothing(self):
    weights = np.random.default_rng(0).uniform(size=(2, 3, 1, 5)) / 5
    np.testing.assert_allclose(
      sharpening.sharpen_links(
        jnp.asarray(weights, jnp.float32), jnp.ones([2, 3, 1])
      ),
      weights,
      rtol=1e-5,
    )

  def test_where_no_link_leads_none_is_made_up(self):
    nowhere = jnp.zeros([1, 4])

    def total(weights, sharpness):
      return jnp.sum(sharpening.sharpen_links(weights, sharpness))

    found = sharpening.sharpen_links(nowhere, jnp.full([1], 3.0))
    np.testing.assert_array_equal(found, nowhere)
    gradient = jax.grad(total, argnums=(0, 1))(nowhere, jnp.full([1], 3.0))
    for x in gradient:
      self.assertTrue(np.isfinite(x).all())

  def test_a_walk_along_blurred_links_stays_sharp(self):
    # Each link leads on by 0.8, and a slot too far by 0.2.
    ring = np.eye(8)
    link = 0.8 * np.roll(ring, 1, axis=0) + 0.2 * np.roll(ring, 2, axis=0)
    plain = sharp = ring[0]
    for _ in range(20):
      plain = link @ plain
      sharp = sharpening.sharpen_links(
        jnp.asarray(link @ sharp), jnp.array(10.0)
      )
    self.assertLess(plain.max(), 0.25)
    self.assertGreater(float(sharp.max()), 0.99)
    self.assertEqual(int(sharp.argmax()), 20 % 8)

  def test_needs_links(self):
    with self.assertRaisesRegex(ValueError, "link_sharpness needs links"):
      transform(
        lambda: dnc_jax.MemoryAccess(
          links="off", link_sharpness=True
        ).initial_state(1)
      ).apply({})
    with self.assertRaisesRegex(ValueError, "link_sharpness needs links"):
      dnc_jax.ModelConfig(output_size=1, links="off", link_sharpness=True)


if __name__ == "__main__":
  absltest.main()
