"""The sparse DNC against its equations, slot by slot."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import addressing, sdnc, sparse_links
from tests import references
from tests import sparse_references as slow
from tests.cores import transform
from tests.float64 import Float64TestCase

T, B, N, W, HIDDEN = 8, 2, 6, 3, 4


def split(vector, heads):
  """Returns the interface's quantities, in range."""
  keys, strengths, a, alpha, gamma, modes = np.split(
    vector, np.cumsum([heads * W, heads, W, 1, 1])
  )
  return (
    keys.reshape(heads, W),
    [references.softplus(x) for x in strengths],
    a,
    references.sigmoid(alpha[0]),
    references.sigmoid(gamma[0]),
    [references.softmax(mode) for mode in modes.reshape(heads, 3)],
  )


def slow_step(interface, state, heads, count, link_size):
  """Returns words and state of a step of one sequence."""
  memory, read_before, _, last, step, link, precedence = state
  keys, strengths, vector, alpha, gamma, modes = split(interface, heads)
  memory, writes = slow.write(memory, read_before, last, vector, alpha, gamma)
  link, precedence = slow.link_step(link, precedence, writes, link_size, 0.0)
  reads = np.zeros((heads, N))
  for h in range(heads):
    backward, forward = np.zeros(N), np.zeros(N)
    for i in range(N):
      for j in range(N):
        forward[i] += link[i, j] * read_before[h, j]
        backward[i] += link[j, i] * read_before[h, j]
    content = slow.look_up(memory, keys[h], strengths[h], count)
    reads[h] = slow.read_weights(content, backward, forward, modes[h], count)
  words = np.array(
    [sum(reads[h, i] * memory[i] for i in range(N)) for h in range(heads)]
  )
  step += 1
  last = slow.accessed(last, step, reads, writes)
  return words, (memory, reads, writes, last, step, link, precedence)


@functools.cache
def network(heads, count, link_size):
  def unroll(inputs):
    access = dnc_jax.SDNCAccess(
      N, W, heads, sparsity=count, link_size=link_size
    )
    return hk.dynamic_unroll(
      access,
      inputs,
      access.initial_state(inputs.shape[1]),
      return_all_states=True,
    )

  return transform(unroll)


def draw(net, heads, seed=0):
  """Returns parameters and inputs, with writes that are not too weak."""
  rng = np.random.default_rng(seed)
  inputs = rng.normal(size=(T, B, HIDDEN))
  params = jax.tree.map(
    lambda x: 2 * rng.normal(size=x.shape),
    jax.eval_shape(net.init, jax.random.key(0), inputs),
  )
  params["sdnc_access/interface"]["b"][heads * W + heads + W] = 5
  return params, inputs


class ReferenceTest(Float64TestCase):
  @parameterized.parameters(
    (3, N, N), (1, 1, 1), (2, 2, 3), (3, 4, 2), (2, N, 2)
  )
  def test_words_and_states_match(self, heads, count, link_size):
    net = network(heads, count, link_size)
    params, inputs = draw(net, heads)
    words, states = jax.jit(net.apply)(params, inputs)
    linear = params["sdnc_access/interface"]
    interface = inputs @ linear["w"] + linear["b"]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    for row in range(B):
      state = (
        np.zeros((N, W)),
        np.zeros((heads, N)),
        np.zeros(N),
        np.zeros(N),
        0,
        np.zeros((N, N)),
        np.zeros(N),
      )
      for step in range(T):
        expected, state = slow_step(
          interface[step, row], state, heads, count, link_size
        )
        now = jax.tree.map(lambda x, t=step, b=row: np.asarray(x[t, b]), states)
        links = now.linkage.links
        fast = (
          now.memory,
          slow.dense(now.read_slots, now.read_weights, N),
          slow.dense(now.write_slots, now.write_weights, N),
          now.last_access,
          now.step,
          slow.dense(links.predecessors, links.predecessor_links, N)[0],
          slow.dense(
            now.linkage.precedence_slots, now.linkage.precedence_weights, N
          )[0],
        )
        close(words[step, row], expected)
        jax.tree.map(close, fast, state)
      self.assertGreater(np.max(state[-2]), 0.01)

  def test_slots_of_a_head_differ(self):
    net = network(2, 2, 3)
    slots = jax.jit(net.apply)(*draw(net, 2))[1].read_slots
    self.assertTrue(np.all(slots[..., 0] != slots[..., 1]))


def dense_words(linear, inputs, heads):
  """Returns the words of all steps by dense weights, to be differentiated."""

  def advance(carry, inputs):
    memory, last, reads, link, precedence, step = carry
    said = inputs @ linear["w"] + linear["b"][None]
    keys, strengths, vector, alpha, gamma, modes = jnp.split(
      said, np.cumsum([heads * W, heads, W, 1, 1]), axis=-1
    )
    keys = keys.reshape(B, heads, W)
    alpha, gamma = jax.nn.sigmoid(alpha), jax.nn.sigmoid(gamma)
    least = jax.nn.one_hot(jnp.argmin(last, axis=-1), N)
    writes = alpha * (gamma * reads.mean(axis=1) + (1 - gamma) * least)
    memory = (1 - least)[..., None] * memory
    memory += writes[..., None] * vector[:, None]
    constant = jax.lax.stop_gradient(writes)[:, None]
    link = addressing.link(link, precedence, constant)
    precedence = addressing.precedence_weights(precedence, constant)
    content = addressing.content_weights(
      memory, keys, jax.nn.softplus(strengths)
    )
    forward, backward = (
      addressing.directional_weights(link, reads, forward=f)
      for f in (True, False)
    )
    mode = jax.nn.softmax(modes.reshape(B, heads, 3), axis=-1)
    reads = addressing.read_weights(content, forward, backward, mode)
    accessed = reads.sum(axis=1) + writes > 0.005
    last = jnp.where(accessed, step + 1, last)
    state = (memory, last, reads, link, precedence, step + 1)
    return state, reads @ memory

  start = (
    jnp.zeros((B, N, W)),
    jnp.zeros((B, N)),
    jnp.zeros((B, heads, N)),
    jnp.zeros((B, 1, N, N)),
    jnp.zeros((B, 1, N)),
    jnp.zeros(()),
  )
  return jax.lax.scan(advance, start, inputs)[1]


class GradientTest(Float64TestCase):
  def test_gradients_are_those_of_dense_weights(self):
    heads = 2
    net = network(heads, N, N)
    params, inputs = draw(net, heads, seed=1)

    def gradients(words):
      return jax.jit(
        jax.grad(lambda *x: jnp.sum(jnp.sin(words(*x))), argnums=(0, 1))
      )(params["sdnc_access/interface"], inputs)

    ours = gradients(
      lambda linear, x: net.apply({"sdnc_access/interface": linear}, x)[0]
    )
    plain = gradients(lambda linear, x: dense_words(linear, x, heads))
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-9),
      ours,
      plain,
    )

  def test_no_gradient_through_links(self):
    slots = jnp.array([[[0, 1]]])

    def loss(weights, reads):
      linkage = sparse_links.SparseLinkage(4, link_size=2)
      state = linkage.initial_state(1)
      for step in (0, 1):
        state = linkage.write(slots + step, weights[step][None, None], state)
      (_, backward), (_, forward) = sdnc.follow(slots + 1, reads, state.links)
      return jnp.sum(backward) + 2 * jnp.sum(forward)

    of_weights, of_reads = jax.jit(
      jax.grad(functools.partial(transform(loss).apply, {}), argnums=(0, 1))
    )(jnp.full((2, 2), 0.4), jnp.full((1, 1, 2), 0.5))
    self.assertFalse(np.any(of_weights))
    self.assertTrue(np.any(of_reads))


if __name__ == "__main__":
  absltest.main()
