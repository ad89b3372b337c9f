"""Least recently used access against its equations, slot by slot."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import mann
from tests import references
from tests.cores import transform
from tests.float64 import Float64TestCase

T, B, N, W, HIDDEN = 7, 2, 5, 3, 4


def slow_step(interface, state, heads, decay):
  """Returns words and state of a step of one sequence."""
  memory, read_before, _, usage = state
  keys = interface[: heads * W].reshape(heads, W)
  gates = [references.sigmoid(x) for x in interface[heads * W :]]
  reads = np.array(
    [references.content_weights(memory, keys[h], 1.0) for h in range(heads)]
  )
  words = np.array(
    [sum(reads[h, i] * memory[i] for i in range(N)) for h in range(heads)]
  )
  order = sorted(range(N), key=lambda i: (usage[i], i))[:heads]
  writes = np.zeros((heads, N))
  for h in range(heads):
    for i in range(N):
      least = float(order[h] == i)
      writes[h, i] = gates[h] * read_before[h, i] + (1 - gates[h]) * least
  new = memory.copy()
  for i in range(N):
    if i in order:
      new[i] = 0
    for h in range(heads):
      new[i] = new[i] + writes[h, i] * keys[h]
  usage = np.array(
    [
      decay * usage[i] + reads[:, i].sum() + writes[:, i].sum()
      for i in range(N)
    ]
  )
  return words, (new, reads, writes, usage)


class ReferenceTest(Float64TestCase):
  @parameterized.parameters((1, 0.95), (2, 0.5))
  def test_words_and_states_match(self, heads, decay):
    rng = np.random.default_rng(0)

    def unroll(inputs):
      access = dnc_jax.MANNAccess(N, W, heads, usage_decay=decay)
      return hk.dynamic_unroll(
        access, inputs, access.initial_state(B), return_all_states=True
      )

    network = transform(unroll)
    inputs = rng.normal(size=(T, B, HIDDEN))
    params = jax.tree.map(
      lambda x: rng.normal(size=x.shape),
      jax.eval_shape(network.init, jax.random.key(0), inputs),
    )
    words, states = jax.jit(network.apply)(params, inputs)
    linear = params["mann_access/interface"]
    interface = inputs @ linear["w"] + linear["b"]
    for row in range(B):
      state = (
        np.zeros((N, W)),
        np.zeros((heads, N)),
        np.zeros((heads, N)),
        np.zeros(N),
      )
      for step in range(T):
        slow, state = slow_step(interface[step, row], state, heads, decay)
        np.testing.assert_allclose(
          words[step, row], slow, rtol=1e-9, atol=1e-12
        )
        for fast, other in zip(states, state, strict=True):
          np.testing.assert_allclose(
            fast[step, row], other, rtol=1e-9, atol=1e-12
          )


class LeastUsedTest(absltest.TestCase):
  def test_ties_go_to_the_first(self):
    found = mann.least_used(jnp.array([[1.0, 0.0, 0.0, 2.0]]), 3)
    self.assertEqual(found[0].argmax(axis=-1).tolist(), [1, 2, 0])

  def test_slots_are_filled_one_after_the_other(self):
    # With a gate of 0 each write goes to the slot that is used the least.
    def unroll(inputs):
      access = dnc_jax.MANNAccess(4, 2, 1)
      return hk.dynamic_unroll(
        access, inputs, access.initial_state(1), return_all_states=True
      )[1]

    network = transform(unroll)
    inputs = np.random.default_rng(0).normal(size=(4, 1, 3)).astype(np.float32)
    params = jax.jit(network.init)(jax.random.key(0), inputs)
    params["mann_access/interface"]["b"] = jnp.array([0.0, 0.0, -50.0])
    states = jax.jit(network.apply)(params, inputs)
    self.assertEqual(
      sorted(states.write_weights[:, 0, 0].argmax(axis=-1).tolist()),
      [0, 1, 2, 3],
    )


class RefusalTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"memory_size": 3}, "memory_size must be at least 4, got 3"),
    ({"word_size": 0}, "word_size must be at least 1, got 0"),
    ({"usage_decay": 1.5}, "usage_decay must be in .0, 1., got 1.5"),
  )
  def test_sizes(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      transform(lambda: dnc_jax.MANNAccess(**options).initial_state(1)).apply(
        {}
      )


if __name__ == "__main__":
  absltest.main()
