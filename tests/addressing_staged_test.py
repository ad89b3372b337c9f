"""Situations of addressing whose outcome is certain without a reference."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax.addressing
from tests.float64 import Float64TestCase
from tests.weightings import links, weightings

# Any, because it is annotated for JAX's arrays and numpy's serve as well.
addressing: Any = dnc_jax.addressing

B, N, W, R, H = 3, 6, 4, 2, 3


class UsageTest(Float64TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.usage = rng.uniform(size=(B, N))
    self.writes = weightings(rng, B, H, N)
    self.reads = weightings(rng, B, R, N)
    self.gates = rng.uniform(size=(B, R))

  def test_stays_in_the_unit_interval(self):
    usage = addressing.usage_after_write(self.usage, self.writes)
    self.assertTrue((usage >= self.usage).all())
    self.assertTrue((usage <= 1).all())
    freed = addressing.usage_after_read(usage, self.gates, self.reads)
    self.assertTrue((freed >= 0).all())
    self.assertTrue((freed <= usage).all())

  def test_a_full_write_uses_a_slot_completely(self):
    self.writes[:, 1] = np.eye(N)[2]
    usage = addressing.usage_after_write(self.usage, self.writes)
    np.testing.assert_array_equal(usage[:, 2], np.ones(B))

  def test_no_write_leaves_usage(self):
    usage = addressing.usage_after_write(self.usage, 0 * self.writes)
    np.testing.assert_allclose(usage, self.usage, rtol=1e-15)

  def test_a_full_read_frees_where_its_gate_is_open(self):
    self.gates[:, 0], self.gates[:, 1] = 1.0, 0.0
    self.reads[:, 0] = np.eye(N)[4]
    usage = addressing.usage_after_read(self.usage, self.gates, self.reads)
    expected = self.usage.copy()
    expected[:, 4] = 0.0
    np.testing.assert_array_equal(usage, expected)
    np.testing.assert_array_equal(
      addressing.retention(self.gates, self.reads),
      np.tile(1 - np.eye(N)[4], (B, 1)),
    )

  def test_closed_gates_free_nothing(self):
    usage = addressing.usage_after_read(self.usage, 0 * self.gates, self.reads)
    np.testing.assert_array_equal(usage, self.usage)


class WriteTest(Float64TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.memory = rng.normal(size=(B, N, W))
    self.vectors = rng.normal(size=(B, H, W))
    self.erase = rng.uniform(size=(B, H, W))

  def test_nothing_written_leaves_memory(self):
    memory = addressing.erase_and_write(
      self.memory, np.zeros((B, H, N)), self.erase, self.vectors
    )
    np.testing.assert_array_equal(memory, self.memory)

  def test_a_full_write_replaces_one_slot(self):
    weights = np.zeros((B, H, N))
    weights[:, 1, 4] = 1.0
    memory = addressing.erase_and_write(
      self.memory, weights, np.ones((B, H, W)), self.vectors
    )
    expected = self.memory.copy()
    expected[:, 4] = self.vectors[:, 1]
    np.testing.assert_array_equal(memory, expected)

  def test_heads_multiply_their_erasing_and_add_their_writing(self):
    memory = addressing.erase_and_write(
      np.ones((1, 1, 1)),
      np.full((1, 2, 1), 0.5),
      np.ones((1, 2, 1)),
      np.array([[[4.0], [8.0]]]),
    )
    np.testing.assert_array_equal(memory, [[[0.25 + 6.0]]])

  def test_retention_wipes_what_was_freed_but_not_what_is_written(self):
    weights = np.zeros((B, H, N))
    weights[:, 0, 2] = 1.0
    retention = np.ones((B, N))
    retention[:, 2] = retention[:, 3] = 0.0
    memory = addressing.erase_and_write(
      self.memory, weights, 0 * self.erase, self.vectors, retention
    )
    expected = self.memory.copy()
    expected[:, 2] = self.vectors[:, 0]
    expected[:, 3] = 0.0
    np.testing.assert_array_equal(memory, expected)

  @parameterized.named_parameters(
    ("closed", 0.0, 0.7, 0.0, 0.0),
    ("allocates", 1.0, 1.0, 1.0, 0.0),
    ("looks_up", 1.0, 0.0, 0.0, 1.0),
    ("mixes", 0.5, 0.25, 0.125, 0.375),
  )
  def test_gates_choose(self, write_gate, allocation_gate, allocated, found):
    allocation = jnp.array([[[1.0, 0.0]]])
    content = jnp.array([[[0.0, 1.0]]])
    weights = addressing.write_weights(
      content,
      allocation,
      jnp.full((1, 1), allocation_gate),
      jnp.full((1, 1), write_gate),
    )
    np.testing.assert_array_equal(weights, [[[allocated, found]]])


class LinkTest(Float64TestCase):
  def _write(self, writes):
    """Returns link and precedence after `writes` of shape [T, B, H, N]."""
    _, batch, heads, size = np.shape(writes)
    link = jnp.zeros((batch, heads, size, size))
    precedence = jnp.zeros((batch, heads, size))
    for weights in writes:
      link = addressing.link(link, precedence, weights)
      precedence = addressing.precedence_weights(precedence, weights)
    return link, precedence

  def test_reads_follow_the_order_of_writing(self):
    link, _ = self._write(np.eye(4)[[0, 1, 3]][:, None, None])
    read = functools.partial(addressing.directional_weights, link)
    reads = jnp.eye(4)[None]
    np.testing.assert_array_equal(
      read(reads, forward=True)[0, :, 0],
      [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]],
    )
    np.testing.assert_array_equal(
      read(reads, forward=False)[0, :, 0],
      [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]],
    )

  def test_writing_a_slot_again_forgets_where_it_stood(self):
    link, _ = self._write(np.eye(3)[[0, 1, 2, 1]][:, None, None])
    expected = np.zeros((3, 3))
    expected[1, 2] = 1.0
    np.testing.assert_array_equal(link[0, 0], expected)

  def test_heads_keep_their_own_order(self):
    rng = np.random.default_rng(0)
    size, num_writes = 4, 5
    writes = weightings(rng, 5, 7, num_writes, size)
    writes[-2, :, 0], writes[-1, :, 0] = np.eye(size)[0], np.eye(size)[1]
    writes[-2, :, 1], writes[-1, :, 1] = np.eye(size)[3], np.eye(size)[2]
    link = np.asarray(self._write(writes)[0])
    self.assertTrue((link >= 0).all())
    self.assertTrue((link <= 1).all())
    self.assertTrue((link.sum(axis=-1) <= 1 + 1e-12).all())
    self.assertTrue((link.sum(axis=-2) <= 1 + 1e-12).all())
    diagonal = np.diagonal(link, axis1=-2, axis2=-1)
    np.testing.assert_array_equal(diagonal, np.zeros((7, num_writes, size)))
    np.testing.assert_array_equal(link[0, 0, :, 0], np.eye(size)[1])
    np.testing.assert_array_equal(link[0, 1, :, 3], np.eye(size)[2])

    reads = weightings(rng, 7, 11, size)
    reads[0, 0], reads[0, 1] = np.eye(size)[0], np.eye(size)[2]
    forward = addressing.directional_weights(link, reads, forward=True)
    backward = addressing.directional_weights(link, reads, forward=False)
    self.assertEqual(forward.shape, (7, 11, num_writes, size))
    np.testing.assert_array_equal(forward[0, 0, 0], np.eye(size)[1])
    np.testing.assert_array_equal(backward[0, 1, 1], np.eye(size)[3])

  def test_rows_and_columns_stay_bounded_over_many_writes(self):
    rng = np.random.default_rng(1)
    for share in (0.05, 0.5, 1.0):
      writes = rng.dirichlet(np.full(N, 0.3), size=(60, B, H)) * share
      link, precedence = self._write(writes)
      with self.subTest(share=share):
        self.assertTrue((link >= -1e-12).all())
        self.assertTrue((link.sum(axis=-1) <= 1 + 1e-9).all())
        self.assertTrue((link.sum(axis=-2) <= 1 + 1e-9).all())
        self.assertTrue((precedence.sum(axis=-1) <= 1 + 1e-9).all())

  def test_no_write_leaves_link_and_precedence(self):
    rng = np.random.default_rng(2)
    link, precedence = links(rng, B, H, N), weightings(rng, B, H, N)
    nothing = np.zeros((B, H, N))
    np.testing.assert_array_equal(
      addressing.link(link, precedence, nothing), link
    )
    np.testing.assert_array_equal(
      addressing.precedence_weights(precedence, nothing), precedence
    )

  def test_a_full_write_replaces_precedence(self):
    rng = np.random.default_rng(3)
    precedence = weightings(rng, B, H, N)
    writes = np.broadcast_to(np.eye(N)[3], (B, H, N))
    np.testing.assert_array_equal(
      addressing.precedence_weights(precedence, writes), writes
    )


class ReadWeightsTest(Float64TestCase):
  def test_each_mode_picks_its_own_term(self):
    rng = np.random.default_rng(0)
    content = weightings(rng, B, R, N)
    forward = weightings(rng, B, R, H, N)
    backward = weightings(rng, B, R, H, N)
    terms = [backward[:, :, h] for h in range(H)]
    terms += [forward[:, :, h] for h in range(H)]
    terms += [content]
    for mode, term in enumerate(terms):
      read_mode = np.zeros((B, R, 1 + 2 * H))
      read_mode[..., mode] = 1.0
      with self.subTest(mode=mode):
        np.testing.assert_array_equal(
          addressing.read_weights(content, forward, backward, read_mode), term
        )


if __name__ == "__main__":
  absltest.main()
