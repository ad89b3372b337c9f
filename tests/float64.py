"""A test case whose arrays are float64."""

import jax
from absl.testing import parameterized


class Float64TestCase(parameterized.TestCase):
  """Runs each test with JAX's 64-bit types enabled."""

  def setUp(self):
    super().setUp()
    self.enterContext(jax.enable_x64(True))
