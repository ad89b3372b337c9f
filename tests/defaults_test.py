"""Cores that are given nothing but the size of their answer."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from tests.cores import transform


class DefaultsTest(parameterized.TestCase):
  @parameterized.parameters(
    (dnc_jax.DNC, "dnc", "dnc/~/memory_access/interface"),
    (dnc_jax.NTM, "ntm", "ntm/~/ntm_access/interface"),
    (dnc_jax.MANN, "mann", "mann/~/mann_access/interface"),
    (dnc_jax.SAM, "sam", "sam/~/sam_access/interface"),
    (dnc_jax.SDNC, "sdnc", "sdnc/~/sdnc_access/interface"),
    (dnc_jax.LSTM, "lstm_baseline", "lstm_baseline/~/lstm/linear"),
    (dnc_jax.GRU, "gru_baseline", "gru_baseline/~/gru"),
  )
  def test_a_step(self, make, name, module):
    def step(inputs):
      core = make(3)
      return core(inputs, core.initial_state(2))[0]

    network = transform(step)
    inputs = jnp.ones([2, 4, 5])
    params = jax.jit(network.init)(jax.random.key(0), inputs)
    self.assertContainsSubset([f"{name}/output_linear", module], params)
    outputs = jax.jit(network.apply)(params, inputs)
    self.assertEqual(outputs.shape, (2, 3))
    self.assertGreater(np.std(outputs), 0)

  @parameterized.parameters(
    dnc_jax.DNC,
    dnc_jax.NTM,
    dnc_jax.MANN,
    dnc_jax.SAM,
    dnc_jax.SDNC,
    dnc_jax.LSTM,
    dnc_jax.GRU,
  )
  def test_impossible_values_are_refused(self, make):
    def made(*args, **options):
      transform(lambda: make(*args, **options).initial_state(1)).apply({})

    with self.assertRaisesRegex(ValueError, "output_size must be at least 1"):
      made(0)
    with self.assertRaisesRegex(ValueError, "clip_value must be more than 0"):
      made(3, clip_value=0)


if __name__ == "__main__":
  absltest.main()
