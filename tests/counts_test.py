"""Operations and bytes of programs, counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import losses, training
from scripts import benchmark, costs, counts

X = jnp.zeros([4, 6])
SQUARE = jnp.zeros([5, 5])


def counted(function, *args):
  return counts.count(jax.make_jaxpr(function)(*args))


def unrolled(x, steps):
  for _ in range(steps):
    x = jnp.tanh(x @ SQUARE)
  return x


def scanned(x, steps):
  def body(x, _):
    return jnp.tanh(x @ SQUARE), None

  return jax.lax.scan(body, x, length=steps)[0]


class OperationsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("matrix_product", lambda x: x @ x.T, 2 * 4 * 4 * 6),
    ("batched", lambda x: jnp.einsum("bi,bj->bij", x, x), 2 * 4 * 6 * 6),
    ("an_element_each", lambda x: jnp.exp(x) + x, 2 * 24),
    ("sums_of_rows", lambda x: x.sum(axis=1), 24),
    ("order", lambda x: jax.lax.sort(x, dimension=1), 24 * 3),
    ("moves", lambda x: x.T.reshape(2, 12)[:, :3], 0),
    ("jitted", jax.jit(lambda x: x * 2), 24),
    ("some_branch", lambda x: jax.lax.cond(True, jnp.sin, lambda y: y, x), 24),
  )
  def test_of_a_function(self, function, operations):
    # The branch that is chosen is converted from a truth value first.
    slack = 2
    self.assertBetween(
      counted(function, X).operations, operations, operations + slack
    )

  def test_a_scan_counts_as_often_as_it_is_long(self):
    by_scan, by_hand = (counted(f, SQUARE, 7) for f in (
      lambda x, _: scanned(x, 7), lambda x, _: unrolled(x, 7)
    ))  # fmt: skip
    self.assertEqual(by_scan, by_hand)
    self.assertEqual(by_scan.operations, 7 * (2 * 125 + 25))

  def test_so_do_its_gradient_and_what_is_computed_again(self):
    def gradient(function):
      return counted(jax.grad(lambda x: function(x).sum()), SQUARE).operations

    few, many = (
      gradient(lambda x, steps=steps: scanned(x, steps)) for steps in (3, 6)
    )
    self.assertBetween(many, 1.9 * few, 2 * few)
    again = gradient(jax.checkpoint(lambda x: scanned(x, 6)))
    self.assertGreater(again, many + 6 * 2 * 125 - 1)

  def test_bytes_are_those_of_what_is_taken_and_given(self):
    found = counted(lambda x: jnp.tanh(x) + x, X)
    self.assertEqual(found.named_bytes, 4 * 24 * (2 + 3))

  def test_loops_of_unknown_length_are_refused(self):
    def halved(x):
      return jax.lax.while_loop(lambda y: y.sum() > 1, lambda y: y / 2, x)

    with self.assertRaisesRegex(ValueError, "while: how often"):
      counted(halved, X)

  @parameterized.parameters(*costs.CORES)
  def test_every_core_can_be_counted(self, core):
    (cell,) = benchmark.cells(
      [core], [16], [1], 2, hidden_size=8, word_size=4, num_reads=2
    )
    network = training.make_forward(cell.config)
    params = jax.eval_shape(
      network.init, jax.random.key(0), np.zeros([1, 1, costs.NUM_BITS])
    )
    found = []
    for num_steps in (4, 8, 12):
      batch = costs.random_batch(num_steps, 2)

      def loss(params, batch=batch):
        logits = network.apply(params, batch.inputs)
        return losses.bits(logits, batch.targets, batch.mask).loss

      found.append(counted(jax.grad(loss), params).operations)
    few, more, most = found
    self.assertGreater(few, 0)
    # As much for each step, wherever it is.
    self.assertEqual(most - more, more - few)


if __name__ == "__main__":
  absltest.main()
