"""The DNC's memory with a few links a slot."""

import functools
from unittest import mock

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import sparse_links
from dnc_jax.access import MemoryAccess
from tests import memories, references
from tests import sparse_references as slow
from tests.cores import transform
from tests.float64 import Float64TestCase
from tests.memories import HIDDEN, B, N, R, W

T = 12


def start(options):
  """Returns a state without links in which no two slots are alike, by field."""
  fields = memories.random_fields(
    np.random.default_rng(2), {**options, "links": "off"}
  )
  heads = options.get("num_writes", 1)
  return fields, {
    **fields,
    "link": np.zeros((B, heads, N, N)),
    "precedence_weights": np.zeros((B, heads, N)),
  }


def unroll(options):
  """Returns a function of parameters and inputs: words and all states."""

  def run(inputs):
    access = MemoryAccess(N, W, R, **options)
    fields, _ = start(options)
    return hk.dynamic_unroll(
      access,
      inputs,
      access.initial_state(B)._replace(**fields),
      return_all_states=True,
    )

  return transform(run).apply


def draw(options, scale=1.0):
  """Returns random parameters and inputs."""
  rng = np.random.default_rng(1)
  params = memories.random_params(rng, options, scale)
  # Writes enough that there are links to tell apart.
  sizes = memories.layout(options)
  first = sum(list(sizes.values())[: list(sizes).index("write_gate")])
  params["memory_access/interface"]["b"][
    first : first + sizes["write_gate"]
  ] += 4
  return params, rng.normal(size=(T, B, HIDDEN))


def matrices(linkage):
  """Returns the link matrices by rows and by columns."""
  links = linkage.links
  rows = sparse_links.dense(links.predecessors, links.predecessor_links, N)
  columns = sparse_links.dense(links.successors, links.successor_links, N)
  return rows, jnp.swapaxes(columns, -1, -2)


OPTIONS = (
  {},
  {
    "num_writes": 3,
    "content_mask": True,
    "deallocate": True,
    "link_sharpness": True,
    "strength": "oneplus",
  },
)


class SparseLinksTest(Float64TestCase):
  @parameterized.parameters(*OPTIONS)
  def test_all_links_are_the_dense_ones_without_their_gradient(self, **options):
    params, inputs = draw(options)

    def run(**more):
      function = unroll({**options, **more})

      @jax.jit
      @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
      def total(*x):
        words, states = function(*x)
        return jnp.sum(jnp.sin(words)), (words, states)

      return total(params, inputs)

    (_, (words, states)), gradients = run(links="sparse", link_size=N)
    (_, (expected, dense)), of_dense = run(links="stop_gradient")
    close = functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-11)
    close(words, expected)
    close(matrices(states.linkage)[0], dense.linkage.link)
    self.assertGreater(np.max(dense.linkage.link), 0.1)
    jax.tree.map(
      close, states._replace(linkage=None), dense._replace(linkage=None)
    )
    jax.tree.map(close, gradients, of_dense)

  @parameterized.parameters(
    (OPTIONS[0], 1), (OPTIONS[0], 2), (OPTIONS[1], 2), (OPTIONS[1], 4)
  )
  def test_fewer_links_are_the_matrix_of_which_the_rest_is_zeroed(
    self, options, count
  ):
    # Three times as sharp, so that some links are above 1 / K.
    params, inputs = draw(options, scale=3.0)
    words, states = jax.jit(
      unroll({**options, "links": "sparse", "link_size": count})
    )(params, inputs)

    def link(prev, precedence, weights):
      steps = [
        slow.link_step(*x, count, 1 / count)[0]
        for x in zip(prev, precedence, weights, strict=True)
      ]
      return np.stack(steps)

    def precedence_weights(precedence, weights):
      steps = [
        slow.link_step(np.zeros((N, N)), *x, count, 0.0)[1]
        for x in zip(precedence, weights, strict=True)
      ]
      return np.stack(steps)

    with (
      mock.patch.object(references, "link", link),
      mock.patch.object(references, "precedence_weights", precedence_weights),
    ):
      expected, dense = memories.slow_unroll(
        options, params, inputs, start(options)[1]
      )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-11)
    close(words, expected)
    rows, columns = matrices(states.linkage)
    close(rows, dense["link"])
    close(columns, dense["link"])
    close(states.read_weights, dense["read_weights"])
    for axis in (-1, -2):
      self.assertLessEqual(np.max(np.sum(rows != 0, axis=axis)), count)
    if count > 1:
      self.assertGreater(np.max(rows), 0)

  @parameterized.parameters("dense", "sparse")
  def test_a_link_size_below_one_is_refused(self, links):
    def make():
      return dnc_jax.MemoryAccess(links=links, link_size=0).initial_state(1)

    with self.assertRaisesRegex(ValueError, "link_size must be at least 1"):
      transform(make).apply({})


if __name__ == "__main__":
  absltest.main()
