"""Tests of priority sort."""

import hypothesis
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from tasks.priority_sort import PrioritySort

HYPOTHESIS = hypothesis.settings(
  max_examples=50, deadline=None, derandomize=True, database=None
)


def draw(task, size=1, seed=0, length=None):
  return task.sample(
    np.random.default_rng(seed), np.zeros(size, int), length=length
  )


class Scripted(np.random.Generator):
  """A generator whose priorities and bits are those that it was given."""

  def __init__(self, priorities, *draws):
    super().__init__(np.random.PCG64(0))
    self.priorities = np.array(priorities)[:, None]
    self.draws = [np.array(draw) for draw in draws]

  def integers(self, *args, **kwargs):  # noqa: ARG002
    return self.draws.pop(0)

  def uniform(self, low=0.0, high=1.0, size=None):
    assert (low, high, size) == (-1, 1, self.priorities.shape)
    return self.priorities


class PrioritySortTest(parameterized.TestCase):
  def test_drawn_by_hand(self):
    # The module's picture, with a fourth vector that this sequence has not.
    task = PrioritySort(num_bits=2, min_items=3, max_items=4, num_kept=2)
    bits = [[[0, 1]], [[1, 1]], [[1, 0]], [[1, 1]]]
    rng = Scripted([0.4, -0.8, 0.7, 0.9], [3], bits)
    batch = task.sample(rng, np.zeros(1, int), length=7)
    np.testing.assert_array_equal(
      batch.inputs[:, 0],
      np.array(
        [
          [0, 1, 0.4, 0],
          [1, 1, -0.8, 0],
          [1, 0, 0.7, 0],
          [0, 0, 0, 1],
          [0, 0, 0, 0],
          [0, 0, 0, 0],
          [0, 0, 0, 0],
        ],
        np.float32,
      ),
    )
    np.testing.assert_array_equal(
      batch.targets[:, 0], [[0, 0]] * 4 + [[1, 0], [0, 1], [0, 0]]
    )
    np.testing.assert_array_equal(batch.mask[:, 0], [0, 0, 0, 0, 1, 1, 0])

  def test_picture_has_ranks(self):
    task = PrioritySort(num_bits=1, min_items=10, max_items=10, num_kept=2)
    bits = np.arange(10)[:, None, None] % 2
    priorities = [0.1, 0.9, -0.5, 0.2, 0.0, -0.1, 0.5, -0.9, 0.3, -0.2]
    batch = task.sample(Scripted(priorities, [10], bits), np.zeros(1, int))
    before = batch.inputs.copy()
    self.assertEqual(
      task.render(batch, -task.solve(np.asarray(batch.inputs))),
      """\
Observations:
+ -  1  -  1  -  1  -  1  -  1  -  -  -+
+ 5  1  9  4  6  7  2 10  3  8  -  -  -+
+ -  -  -  -  -  -  -  -  -  -  1  -  -+
Targets:
+ -  -  -  -  -  -  -  -  -  -  -  1  -+
Model Output:
+ -  -  -  -  -  -  -  -  -  -  -  -  1+""",
    )
    np.testing.assert_array_equal(batch.inputs, before)

  @HYPOTHESIS
  @hypothesis.given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
  )
  def test_the_highest_are_wanted_in_order(
    self, num_bits, least, more, num_kept, seed
  ):
    task = PrioritySort(num_bits, least, least + more, num_kept)
    batch = draw(task, 6, seed)
    longest = 0
    for row in range(6):
      heard = batch.inputs[:, row]
      (count,) = np.flatnonzero(heard[:, -1])
      self.assertBetween(count, least, least + more)
      self.assertFalse(heard[count + 1 :].any())
      left = {float(x[num_bits]): x[:num_bits] for x in heard[:count]}
      self.assertLen(left, count)  # Priorities differ.
      kept = min(num_kept, count)
      for step in range(count + 1, count + 1 + kept):
        highest = left.pop(max(left))
        np.testing.assert_array_equal(batch.targets[step, row], highest)
      np.testing.assert_array_equal(
        np.flatnonzero(batch.mask[:, row]), count + 1 + np.arange(kept)
      )
      longest = max(longest, count + 1 + kept)
    self.assertLen(batch.inputs, longest)
    self.assertEqual(
      task.length(0), least + more + 1 + min(num_kept, least + more)
    )

  def test_equal_priorities_keep_their_order(self):
    task = PrioritySort(num_bits=1, min_items=4, max_items=4, num_kept=3)
    rng = Scripted([0.5, 0.0, 0.5, 0.5], [4], [[[1]], [[1]], [[0]], [[0]]])
    batch = task.sample(rng, np.zeros(1, int))
    self.assertEqual(batch.targets[5:, 0, 0].tolist(), [1, 0, 0])
    self.assertEqual(
      (task.solve(np.asarray(batch.inputs))[5:, 0, 0] > 0).tolist(),
      [True, False, False],
    )

  def test_numbers_of_vectors_are_drawn_equally(self):
    scored = draw(PrioritySort(3, 2, 5), 4000).mask.sum(axis=0).astype(int)
    counts = np.bincount(scored, minlength=6)
    np.testing.assert_allclose(
      counts, [0, 0, 1000, 1000, 1000, 1000], rtol=0.15
    )

  def test_priorities_are_uniform(self):
    priorities = draw(PrioritySort(), 1000).inputs[:20, :, 8]
    self.assertBetween(priorities.min(), -1, -0.999)
    self.assertBetween(priorities.max(), 0.999, 1)
    counts, _ = np.histogram(priorities, bins=8, range=(-1, 1))
    np.testing.assert_allclose(counts, 2500, rtol=0.1)
    # One has nothing to do with the next, or with the bits.
    bits = draw(PrioritySort(), 1000).inputs[:20, :, 0]
    for other in (priorities[1:], bits[:-1]):
      correlation = np.corrcoef(priorities[:-1].ravel(), other.ravel())[0, 1]
      self.assertLess(abs(correlation), 0.03)

  @parameterized.named_parameters(
    ("no_bits", {"num_bits": 0}, "num_bits must be at least 1, got 0"),
    ("no_item", {"min_items": 0}, "min_items must be at least 1, got 0"),
    (
      "range",
      {"min_items": 21},
      "max_items must be at least min_items = 21, got 20",
    ),
    ("none_kept", {"num_kept": 0}, "num_kept must be at least 1, got 0"),
  )
  def test_impossible_sizes_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      PrioritySort(**options)


if __name__ == "__main__":
  absltest.main()
