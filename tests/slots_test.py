"""Choosing, reading and writing a few slots, against plain ways to do it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import _slots


class LargestTest(parameterized.TestCase):
  @parameterized.product(
    num_slots=(1, 5, 4095, 4096, 4097, 5000), count=(1, 4, 31), ties=(0, 1)
  )
  def test_is_top_k(self, num_slots, count, ties):
    count = min(count, num_slots)
    rng = np.random.default_rng(num_slots + count)
    scores = rng.normal(size=(2, 3, num_slots)).astype(np.float32)
    if ties:
      scores = np.round(scores)
    np.testing.assert_array_equal(
      _slots.largest(jnp.asarray(scores), count),
      jax.lax.top_k(scores, count)[1],
    )

  def test_all_alike(self):
    self.assertEqual(
      _slots.largest(jnp.zeros(10_000), 4).tolist(), [0, 1, 2, 3]
    )


class ReadAndWriteTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.memory = rng.normal(size=(2, 5, 3)).astype(np.float32)
    self.slots = np.array([[1, 3, 1, 0], [2, 2, 4, 2]], np.int32)
    self.words = rng.normal(size=(2, 4, 3)).astype(np.float32)

  def _plain_write(self, memory, words):
    here = jax.nn.one_hot(self.slots, 5)
    kept = 1 - here[:, -1][..., None]
    return kept * memory + jnp.einsum("bsn,bsw->bnw", here, words)

  def _plain_read(self, memory):
    return jnp.einsum("bsn,bnw->bsw", jax.nn.one_hot(self.slots, 5), memory)

  def test_write(self):
    arguments = (self.memory, self.words)
    write = lambda memory, words: _slots.write(memory, self.slots, words)
    self._same(write, self._plain_write, *arguments)

  def test_read(self):
    read = lambda memory: _slots.read(memory, self.slots)[1]
    self._same(read, self._plain_read, self.memory)
    # What is handed on counts in the gradient, too.
    both = lambda memory: sum(
      jnp.sum(jnp.sin(x)) for x in _slots.read(memory, self.slots)
    )
    plain = lambda memory: (
      jnp.sum(jnp.sin(memory)) + jnp.sum(jnp.sin(self._plain_read(memory)))
    )
    np.testing.assert_allclose(
      jax.grad(both)(self.memory), jax.grad(plain)(self.memory), rtol=1e-5
    )

  def _same(self, ours, plain, *arguments):
    np.testing.assert_allclose(ours(*arguments), plain(*arguments), rtol=1e-6)
    total = lambda function: jax.grad(lambda x: jnp.sum(jnp.sin(function(*x))))(
      arguments
    )
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
      total(ours),
      total(plain),
    )


if __name__ == "__main__":
  absltest.main()
