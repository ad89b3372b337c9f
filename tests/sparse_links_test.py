"""Lists of links against a matrix of which the rest is zeroed."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import addressing, sparse_links
from dnc_jax.sparse_links import SparseLinkage
from tests import sparse_references
from tests.cores import transform
from tests.float64 import Float64TestCase

T, B, H, N = 20, 2, 2, 7

close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)


def draw(rng, size, sharpness=1.0):
  """Returns slots, some of them more than once, and weights."""
  slots = rng.integers(0, N, (T, B, H, size)).astype(np.int32)
  where = np.exp(sharpness * rng.normal(size=slots.shape))
  where /= where.sum(axis=-1, keepdims=True)
  return slots, where * rng.uniform(size=(T, B, H, 1))


def unroll(slots, weights, **options):
  """Returns the states of all steps."""

  def run(inputs):
    linkage = SparseLinkage(N, H, **options)

    def step(inputs, state):
      return (linkage.write(inputs[0], inputs[1], state),) * 2

    return hk.dynamic_unroll(step, inputs, linkage.initial_state(B))[0]

  return jax.jit(transform(run).apply)({}, (slots, weights))


def matrices(links):
  """Returns the link matrices by their rows and by their columns."""
  rows = sparse_links.dense(links.predecessors, links.predecessor_links, N)
  columns = sparse_links.dense(links.successors, links.successor_links, N)
  return rows, jnp.swapaxes(columns, -1, -2)


class SparseLinkageTest(Float64TestCase):
  @parameterized.parameters(
    (1, 0.0, 12, 1),
    (2, 0.0, 12, 1),
    (2, 0.0, 1, 1),
    (3, 0.0, 3, 6),
    (N, 0.0, 12, 1),
    (2, 0.5, 12, 9),
    (3, 1 / 3, 12, 6),
    (3, 0.05, 12, 1),
  )
  def test_is_the_matrix_of_which_the_rest_is_zeroed(
    self, count, least, size, sharpness
  ):
    slots, weights = draw(np.random.default_rng(0), size, sharpness)
    states = unroll(slots, weights, link_size=count, least=least)
    rows, columns = matrices(states.links)
    np.testing.assert_array_equal(rows, columns)
    writes = sparse_references.dense(slots, weights, N)
    precedence = sparse_links.dense(
      states.precedence_slots, states.precedence_weights, N
    )
    for where in np.ndindex(B, H):
      link, last = np.zeros((N, N)), np.zeros(N)
      for t in range(T):
        link, last = sparse_references.link_step(
          link, last, writes[t, *where], count, least
        )
        close(rows[t, *where], link)
        close(precedence[t, *where], last)
    self.assertGreater(np.max(rows), 0)
    for sums in (rows.sum(axis=-1), rows.sum(axis=-2)):
      self.assertLessEqual(np.max(sums), 1 + 1e-9)
    for axis in (-1, -2):
      self.assertLessEqual(np.max(np.sum(rows != 0, axis=axis)), count)

  @parameterized.parameters(N, N + 5)
  def test_all_links_are_those_of_the_dense_matrix(self, link_size):
    slots, weights = draw(np.random.default_rng(0), 5)
    states = unroll(slots, weights, link_size=link_size)
    rows, _ = matrices(states.links)
    writes = sparse_references.dense(slots, weights, N)
    link, last = jnp.zeros((B, H, N, N)), jnp.zeros((B, H, N))
    for t in range(T):
      link = addressing.link(link, last, writes[t])
      last = addressing.precedence_weights(last, writes[t])
      close(rows[t], link)

  def test_a_slot_with_more_links_than_fit_keeps_the_largest(self):
    # After slot 0 come 1, 2 and 3, each with 0.3 of what 0 was the last.
    slots = np.broadcast_to(np.arange(4, dtype=np.int32), (3, B, H, 4))
    weights = np.zeros((3, B, H, 4))
    weights[0, ..., 0] = 1
    weights[1, ..., 1:] = [0.2, 0.3, 0.4]
    states = unroll(slots, weights, link_size=2)
    rows, _ = matrices(states.links)
    column = rows[1, 0, 0, :, 0]
    # Of the writes 0.3 and 0.4 are kept, which then sum to 0.9.
    close(column, [0, 0, 0.9 * 3 / 7, 0.9 * 4 / 7, 0, 0, 0])
    # What is not written stays as it is.
    close(rows[2], rows[1])


class DirectionalWeightsTest(Float64TestCase):
  @parameterized.parameters(2, N)
  def test_weights_and_gradients_are_those_of_the_dense_matrix(self, count):
    rng = np.random.default_rng(0)
    states = unroll(*draw(rng, 5), link_size=count)
    links = jax.tree.map(lambda x: x[-1], states.links)
    matrix, _ = matrices(links)
    reads = jnp.asarray(rng.uniform(size=(B, 3, N)))
    for forward in (True, False):
      ours = lambda reads, f=forward: sparse_links.directional_weights(
        links, reads, forward=f
      )
      plain = lambda reads, f=forward: addressing.directional_weights(
        matrix, reads, forward=f
      )
      close(ours(reads), plain(reads))
      self.assertGreater(np.max(ours(reads)), 0)
      total = lambda function: jax.grad(
        lambda reads: jnp.sum(jnp.sin(function(reads)))
      )(reads)
      close(total(ours), total(plain))


class RefusalTest(parameterized.TestCase):
  @parameterized.parameters(
    ((0,), {}, "memory_size must be at least 1, got 0"),
    ((4, 0), {}, "num_writes must be at least 1, got 0"),
    ((4,), {"link_size": 0}, "link_size must be at least 1, got 0"),
  )
  def test_sizes(self, sizes, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      transform(
        lambda: SparseLinkage(*sizes, **options).initial_state(1)
      ).apply({})


if __name__ == "__main__":
  absltest.main()
