"""Sparse access against its equations, slot by slot, and what it keeps."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
from absl.testing import absltest, parameterized

import dnc_jax
from dnc_jax import sam
from tests import references
from tests import sparse_references as slow
from tests.compiled import copies_in_loops, temporary_bytes
from tests.cores import transform
from tests.float64 import Float64TestCase

T, B, N, W, HIDDEN = 7, 2, 6, 3, 4


def split(vector, heads):
  """Returns the interface's quantities, in range."""
  keys, strengths, a, alpha, gamma = np.split(
    vector, np.cumsum([heads * W, heads, W, 1])
  )
  return (
    keys.reshape(heads, W),
    [references.softplus(x) for x in strengths],
    a,
    references.sigmoid(alpha[0]),
    references.sigmoid(gamma[0]),
  )


def slow_step(interface, state, heads, count):
  """Returns words and state of a step of one sequence."""
  memory, read_before, _, last, step = state
  keys, strengths, vector, alpha, gamma = split(interface, heads)
  memory, writes = slow.write(memory, read_before, last, vector, alpha, gamma)
  reads = np.stack(
    [slow.look_up(memory, keys[h], strengths[h], count) for h in range(heads)]
  )
  words = np.array(
    [sum(reads[h, i] * memory[i] for i in range(N)) for h in range(heads)]
  )
  step += 1
  last = slow.accessed(last, step, reads, writes)
  return words, (memory, reads, writes, last, step)


@functools.cache
def network(heads, count, **options):
  def unroll(inputs):
    access = dnc_jax.SAMAccess(N, W, heads, sparsity=count, **options)
    return hk.dynamic_unroll(
      access,
      inputs,
      access.initial_state(inputs.shape[1]),
      return_all_states=True,
    )

  return transform(unroll)


def draw(net, seed=0, scale=1.0):
  """Returns parameters and inputs."""
  rng = np.random.default_rng(seed)
  inputs = rng.normal(size=(T, B, HIDDEN))
  shapes = jax.eval_shape(net.init, jax.random.key(0), inputs)
  return (
    jax.tree.map(lambda x: scale * rng.normal(size=x.shape), shapes),
    inputs,
  )


class ReferenceTest(Float64TestCase):
  @parameterized.parameters(
    *((heads, count) for heads in (1, 3) for count in (1, 2, N)),
    (2, 2, True),
  )
  def test_words_and_states_match(self, heads, count, approximate=False):
    net = network(heads, count, approximate=approximate)
    params, inputs = draw(net, scale=2.0)
    words, states = jax.jit(net.apply)(params, inputs)
    linear = params["sam_access/interface"]
    interface = inputs @ linear["w"] + linear["b"]
    for row in range(B):
      state = (
        np.zeros((N, W)),
        np.zeros((heads, N)),
        np.zeros(N),
        np.zeros(N),
        0,
      )
      for step in range(T):
        expected, state = slow_step(interface[step, row], state, heads, count)
        now = jax.tree.map(lambda x, t=step, b=row: np.asarray(x[t, b]), states)
        fast = (
          now.memory,
          slow.dense(now.read_slots, now.read_weights, N),
          slow.dense(now.write_slots, now.write_weights, N),
          now.last_access,
          now.step,
        )
        close = functools.partial(
          np.testing.assert_allclose, rtol=1e-9, atol=1e-12
        )
        close(words[step, row], expected)
        close(now.squares, np.square(now.memory).sum(axis=-1))
        jax.tree.map(close, fast, state)

  def test_slots_of_a_head_differ(self):
    net = network(3, 4)
    slots = jax.jit(net.apply)(*draw(net))[1].read_slots
    for head in np.reshape(slots, (-1, 4)):
      self.assertLen(set(head.tolist()), 4)


class GradientTest(Float64TestCase):
  @parameterized.parameters((1, 2), (3, 2), (2, N))
  def test_gradients_are_those_of_finite_differences(self, heads, count):
    net = network(heads, count)
    params, inputs = draw(net, seed=1)

    def loss(inputs, memory):
      access = dnc_jax.SAMAccess(N, W, heads, sparsity=count)
      state = access.initial_state(B)._replace(
        memory=memory, squares=jnp.sum(memory * memory, axis=-1)
      )
      words, _ = hk.dynamic_unroll(access, inputs, state)
      return jnp.sum(jnp.sin(jnp.asarray(words)))

    memory = np.random.default_rng(2).normal(size=(B, N, W))
    jax.test_util.check_grads(
      jax.jit(transform(loss).apply),
      (params, inputs, memory),
      order=1,
      modes=["rev"],
      eps=1e-6,
    )


@functools.cache
def run_four_slots():
  """Returns a compiled function of parameters: the states of four steps."""

  def unroll(inputs):
    access = dnc_jax.SAMAccess(4, 2, 1, sparsity=1)
    return hk.dynamic_unroll(
      access, inputs, access.initial_state(1), return_all_states=True
    )[1]

  return jax.jit(
    lambda params: transform(unroll).apply(params, jnp.zeros((4, 1, 3)))
  )


class AccessTest(parameterized.TestCase):
  def _states(self, *bias):
    # A key that finds the first of the words written, its strength, the word.
    bias = jnp.array([1.0, 1, 9, 1, 1, *bias])
    linear = {"w": jnp.zeros((3, 7)), "b": bias}
    return run_four_slots()({"sam_access/interface": linear})

  def test_slots_are_filled_one_after_the_other(self):
    states = self._states(50, -50)
    self.assertEqual(states.write_slots[:, 0, -1].tolist(), [0, 1, 2, 3])

  def test_what_is_hardly_written_is_not_accessed(self):
    # A write gate of 0.002 is below δ; the slot read, 0, is accessed.
    states = self._states(-6.2, -50)
    self.assertEqual(states.last_access[-1, 0].tolist(), [4, 0, 0, 0])

  def test_heads_that_read_the_same_slot_write_it_together(self):
    interface = {
      "write_gate": jnp.ones(1),
      "interpolation_gate": jnp.array([0.5]),
      "write_vector": jnp.ones((1, 2)),
    }
    state = sam.initial_state(
      1, memory_size=4, word_size=2, num_reads=2, sparsity=2
    )._replace(
      memory=jnp.full((1, 4, 2), 8.0),
      read_slots=jnp.array([[[2, 1], [3, 2]]]),
      read_weights=jnp.array([[[0.75, 0.25], [0.5, 0.5]]]),
    )
    new = sam.write(interface, state)
    # Slot 0 is the least used. Slot 2 gets (0.75 + 0.5) / 2 / 2.
    np.testing.assert_allclose(
      new.memory[0, :, 0], [0.5, 8.0625, 8.3125, 8.125]
    )
    np.testing.assert_allclose(
      new.squares[0], 2 * np.square(new.memory[0, :, 0]) * [1, 1, 1, 1]
    )


class CostTest(parameterized.TestCase):
  """What the backward pass keeps, and does, does not grow with the memory."""

  @staticmethod
  @functools.cache
  def _compiled(num_slots, num_steps, batch_size=1):
    def loss(inputs):
      core = dnc_jax.SAM(
        2, access=dnc_jax.SAMAccess(num_slots, 8), controller=hk.GRU(4)
      )
      state = core.initial_state(batch_size)
      outputs, _ = hk.dynamic_unroll(core, inputs, state)
      return jnp.sum(jnp.asarray(outputs))

    net = transform(loss)
    inputs = jnp.zeros([num_steps, batch_size, 2])
    params = jax.eval_shape(net.init, jax.random.key(0), inputs)
    return jax.jit(jax.grad(net.apply)).lower(params, inputs).compile()

  def test_kept_numbers_do_not_grow_with_slots(self):
    def kept_of_a_step(num_slots):
      short, long = (
        temporary_bytes(self._compiled(num_slots, t, 1)) for t in (10, 50)
      )
      return (long - short) / 40

    few, many = kept_of_a_step(2**10), kept_of_a_step(2**14)
    self.assertLess(few, 8_000)  # 4 numbers a slot would be 16,384 bytes.
    self.assertLess(many, few + 200)

  @parameterized.parameters(1, 3)
  def test_no_step_copies_the_memory(self, batch_size):
    num_slots = 2**14
    compiled = self._compiled(num_slots, 50, batch_size)
    memory = 4 * 8 * num_slots * batch_size
    self.assertLess(temporary_bytes(compiled), 4 * memory)
    if jax.default_backend() != "cpu":
      self.skipTest("The text is that of the CPU's compiler.")
    self.assertEmpty(copies_in_loops(compiled, 8 * num_slots * batch_size))


class RefusalTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"memory_size": 0}, "memory_size must be at least 1, got 0"),
    ({"word_size": 0}, "word_size must be at least 1, got 0"),
    ({"num_reads": 0}, "num_reads must be at least 1, got 0"),
    ({"sparsity": 0}, "sparsity must be at least 1, got 0"),
    (
      {"memory_size": 3},
      r"sparsity must be at most memory_size, 3, got 4: .* Lower sparsity",
    ),
  )
  def test_sizes(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      transform(lambda: dnc_jax.SAMAccess(**options).initial_state(1)).apply({})


if __name__ == "__main__":
  absltest.main()
