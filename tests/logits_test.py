"""What the cores that answer with logits have in common."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from dnc_jax import _logits


class ClipTest(absltest.TestCase):
  def test_gradients_end_beyond_the_bounds(self):
    bound, nan = 20.0, float("nan")
    values = jnp.array([-21.0, -20.0, -3.0, 0.0, 20.0, 20.001, 1e30, nan])
    clipped, pullback = jax.vjp(lambda x: _logits.clip(x, bound), values)
    np.testing.assert_array_equal(clipped, np.clip(values, -bound, bound))
    # As TensorFlow has it, and what is not a number is not lost.
    (gradient,) = pullback(jnp.ones_like(values))
    np.testing.assert_array_equal(gradient, [0, 1, 1, 1, 1, 0, 0, 1])
    _, tangents = jax.jvp(
      lambda x: _logits.clip(x, bound), (values,), (2 * jnp.ones_like(values),)
    )
    np.testing.assert_array_equal(tangents, [0, 2, 2, 2, 2, 0, 0, 2])


if __name__ == "__main__":
  absltest.main()
