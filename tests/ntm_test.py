"""The Neural Turing Machine against its equations, slot by slot."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import ntm
from tests import references
from tests.cores import transform
from tests.float64 import Float64TestCase

T, B, N, W, HIDDEN = 6, 2, 5, 3, 4


def slow_weights(parts, memory, prev):
  """Returns a head's weights, after equations 5 to 9 of the paper."""
  key, strength, gate, shifts, sharpness = parts
  content = references.content_weights(memory, key, strength)
  gated = [gate * content[i] + (1 - gate) * prev[i] for i in range(N)]
  most = len(shifts) // 2
  moved = [
    sum(
      gated[j] * shifts[s]
      for j in range(N)
      for s in range(len(shifts))
      if (j + s - most) % N == i
    )
    for i in range(N)
  ]
  powers = [w**sharpness for w in moved]
  return np.array(powers) / sum(powers)


def slow_step(interface, state, heads, max_shift):
  """Returns words and state of a step of one sequence."""
  reads, writes = heads
  numbers = iter(interface)

  def take(*shape):
    flat = [next(numbers) for _ in range(int(np.prod(shape)))]
    return np.array(flat).reshape(shape)

  def softmax(row):
    return np.exp(row) / np.exp(row).sum()

  def head_parts(count):
    keys = take(count, W)
    strengths, gates = take(count), take(count)
    shifts, sharpness = take(count, 2 * max_shift + 1), take(count)
    return [
      (
        keys[h],
        references.softplus(strengths[h]),
        references.sigmoid(gates[h]),
        softmax(shifts[h]),
        references.oneplus(sharpness[h]),
      )
      for h in range(count)
    ]

  reading, writing = head_parts(reads), head_parts(writes)
  erase, add = take(writes, W), take(writes, W)
  memory, read_weights, write_weights = state
  write_weights = np.array(
    [slow_weights(writing[h], memory, write_weights[h]) for h in range(writes)]
  )
  new = np.zeros_like(memory)
  for i in range(N):
    for k in range(W):
      kept = memory[i, k]
      for h in range(writes):
        kept *= 1 - write_weights[h, i] * references.sigmoid(erase[h, k])
      new[i, k] = kept + sum(
        write_weights[h, i] * add[h, k] for h in range(writes)
      )
  read_weights = np.array(
    [slow_weights(reading[h], new, read_weights[h]) for h in range(reads)]
  )
  words = np.array(
    [
      [sum(read_weights[h, i] * new[i, k] for i in range(N)) for k in range(W)]
      for h in range(reads)
    ]
  )
  return words, (new, read_weights, write_weights)


class ReferenceTest(Float64TestCase):
  @parameterized.parameters(
    ((1, 1), 1, "constant"), ((2, 3), 2, "random"), ((2, 1), 0, "random")
  )
  def test_words_and_states_match(self, heads, max_shift, initial_memory):
    rng = np.random.default_rng(0)

    def unroll(inputs):
      access = dnc_jax.NTMAccess(
        N, W, *heads, max_shift=max_shift, initial_memory=initial_memory
      )
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
    linear = params["ntm_access/interface"]
    interface = inputs @ linear["w"] + linear["b"]
    first = transform(
      lambda: dnc_jax.NTMAccess(
        N, W, *heads, initial_memory=initial_memory
      ).initial_state(None)
    ).apply({})
    self.assertEqual(first.read_weights.tolist(), [[1, 0, 0, 0, 0]] * heads[0])
    for row in range(B):
      state = tuple(np.asarray(x, np.float64) for x in first)
      for step in range(T):
        slow, state = slow_step(interface[step, row], state, heads, max_shift)
        np.testing.assert_allclose(words[step, row], slow, rtol=1e-9)
        for fast, other in zip(states, state, strict=True):
          np.testing.assert_allclose(
            fast[step, row], other, rtol=1e-9, atol=1e-11
          )


class AddressingTest(absltest.TestCase):
  def test_a_shift_is_a_ring(self):
    weights = jnp.asarray(np.eye(4)[None, [0, 3]], jnp.float32)
    shifts = jnp.asarray([[[0.0, 0.0, 1.0], [0.25, 0.0, 0.75]]])
    np.testing.assert_array_equal(
      ntm.shift(weights, shifts), [[[0, 1, 0, 0], [0.75, 0, 0.25, 0]]]
    )

  def test_shifts_beyond_the_memory(self):
    # Two slots, three shifts: one to the left and one to the right meet.
    moved = ntm.shift(jnp.array([[[1.0, 0.0]]]), jnp.array([[[0.3, 0.2, 0.5]]]))
    np.testing.assert_allclose(moved, [[[0.2, 0.8]]], rtol=1e-6)


class InitialMemoryTest(absltest.TestCase):
  def state(self, params=None, **options):
    return transform(
      lambda: dnc_jax.NTMAccess(4, W, **options).initial_state(2)
    ).apply(params or {})

  def test_constant_and_random(self):
    np.testing.assert_allclose(self.state().memory, 1e-6)
    first = self.state(initial_memory="random").memory
    self.assertBetween(float(first.std()), 0.2, 0.8)
    np.testing.assert_array_equal(first[0], first[1])
    np.testing.assert_array_equal(
      first, self.state(initial_memory="random").memory
    )

  def test_learned(self):
    word = np.arange(1.0, W + 1)
    state = self.state(
      {"ntm_access": {"initial_word": word}}, initial_memory="learned"
    )
    np.testing.assert_array_equal(
      state.memory, np.broadcast_to(word, (2, 4, W))
    )

  def test_learned_is_learned_and_reset(self):
    def forward(inputs, resets):
      core = dnc_jax.NTM(
        2,
        access=dnc_jax.NTMAccess(4, W, initial_memory="learned"),
        controller=dnc_jax.FeedForward(HIDDEN),
      )
      state = core.initial_state(2)
      outputs, last = hk.dynamic_unroll(
        hk.ResetCore(core), (inputs, resets), state
      )
      return outputs, last

    network = transform(forward)
    inputs = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
    resets = np.zeros((3, 2), bool)
    params = jax.jit(network.init)(jax.random.key(0), inputs, resets)
    apply = jax.jit(network.apply)
    gradient = jax.jit(
      jax.grad(lambda p: jnp.sum(apply(p, inputs, resets)[0] ** 2))
    )(params)
    self.assertGreater(abs(gradient["ntm_access"]["initial_word"]).max(), 0)
    # After a reset at the last step, that step is like a first one.
    resets[2] = True
    last = apply(params, inputs, resets)[0][2]
    alone = apply(params, inputs[2:], resets[:1])[0][0]
    np.testing.assert_allclose(last, alone, rtol=1e-5, atol=1e-6)


class RefusalTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"memory_size": 0}, "memory_size must be at least 1, got 0"),
    ({"max_shift": -1}, "max_shift must be at least 0, got -1"),
    ({"initial_memory": "empty"}, "initial_memory must be one of 'constant'"),
  )
  def test_sizes_and_names(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      transform(lambda: dnc_jax.NTMAccess(**options).initial_state(1)).apply({})


if __name__ == "__main__":
  absltest.main()
