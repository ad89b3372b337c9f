"""Tests of copy."""

import hypothesis
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from tasks.copy_task import Copy

HYPOTHESIS = hypothesis.settings(
  max_examples=50, deadline=None, derandomize=True, database=None
)


class CopyTest(parameterized.TestCase):
  def test_drawn_by_hand(self):
    task = Copy(num_bits=3, min_length=2, max_length=2)
    batch = task.sample(np.random.default_rng(0), np.zeros(1, int), length=8)
    (a, b, c), (d, e, f) = batch.inputs[1:3, 0, :3]
    self.assertLessEqual({a, b, c, d, e, f}, {0.0, 1.0})
    np.testing.assert_array_equal(
      batch.inputs[:, 0],
      [
        [0, 0, 0, 1, 0],
        [a, b, c, 0, 0],
        [d, e, f, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
      ],
    )
    nothing = [0, 0, 0]
    np.testing.assert_array_equal(
      batch.targets[:, 0],
      [nothing] * 4 + [[a, b, c], [d, e, f]] + [nothing] * 2,
    )
    np.testing.assert_array_equal(batch.mask[:, 0], [0, 0, 0, 0, 1, 1, 0, 0])

  def test_a_series_is_one_after_the_other(self):
    task = Copy(num_bits=2, max_length=4, min_instances=2, max_instances=5)
    batch = task.sample(np.random.default_rng(0), np.zeros(40, int))
    counts = []
    for row in range(40):
      inputs, mask = batch.inputs[:, row], batch.mask[:, row]
      begin, count = 0, 0
      while begin < len(inputs) and inputs[begin, 2]:
        (end, *_) = begin + np.flatnonzero(inputs[begin:, 3])
        length = end - begin - 1
        answer = slice(end + 1, end + 1 + length)
        told = inputs[begin + 1 : end, :2]
        np.testing.assert_array_equal(batch.targets[answer, row], told)
        self.assertEqual(mask[begin : end + 1].tolist(), [0] * (length + 2))
        self.assertEqual(mask[answer].tolist(), [1] * length)
        self.assertFalse(inputs[answer].any())
        begin, count = end + 1 + length, count + 1
      self.assertFalse(inputs[begin:].any())
      self.assertFalse(mask[begin:].any())
      counts.append(count)
    self.assertEqual(set(counts), {2, 3, 4, 5})

  def test_a_growing_series(self):
    task = Copy(max_length=2, min_instances=2, max_instances=4, growing=True)
    self.assertEqual(task.num_lessons, 3)
    self.assertEqual([task.length(x) for x in range(3)], [12, 18, 24])
    batch = task.sample(np.random.default_rng(0), np.array([0, 2, 1]))
    starts = batch.inputs[..., task.num_bits].sum(axis=0)
    self.assertEqual(starts.tolist(), [2, 4, 3])

  def test_picture(self):
    task = Copy(num_bits=1, min_length=2, max_length=2)
    batch = task.sample(np.random.default_rng(0), np.zeros(1, int), length=9)
    batch.inputs[1:3, 0, 0] = [1, 0]
    batch.targets[4:6, 0, 0] = [1, 0]
    self.assertEqual(
      task.render(batch, -task.solve(np.asarray(batch.inputs))),
      """\
Observations:
+- 1 - - - -+
+1 - - - - -+
+- - - 1 - -+
Targets:
+- - - - 1 -+
Model Output:
+- - - - - 1+""",
    )

  @HYPOTHESIS
  @hypothesis.given(
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(0, 8),
    st.integers(0, 2**32 - 1),
  )
  def test_what_is_heard_is_wanted(self, num_bits, least, more, seed):
    task = Copy(num_bits=num_bits, min_length=least, max_length=least + more)
    batch = task.sample(np.random.default_rng(seed), np.zeros(6, int))
    longest = 0
    for row in range(6):
      inputs, targets = batch.inputs[:, row], batch.targets[:, row]
      (start,) = np.flatnonzero(inputs[:, num_bits])
      (end,) = np.flatnonzero(inputs[:, num_bits + 1])
      length = end - 1
      longest = max(longest, length)
      self.assertEqual(start, 0)
      self.assertBetween(length, least, least + more)
      np.testing.assert_array_equal(
        targets[end + 1 : end + 1 + length], inputs[1:end, :num_bits]
      )
      self.assertEqual(
        np.flatnonzero(batch.mask[:, row]).tolist(),
        list(range(length + 2, 2 * length + 2)),
      )
      self.assertFalse(inputs[[start, end], :num_bits].any())
    self.assertLen(batch.inputs, 2 * longest + 2)

  def test_all_lengths_and_bits_are_drawn_equally(self):
    task = Copy(min_length=3, max_length=6)
    batch = task.sample(np.random.default_rng(0), np.zeros(4000, int))
    lengths = batch.mask.sum(axis=0)
    values, counts = np.unique(lengths, return_counts=True)
    self.assertEqual(values.tolist(), [3, 4, 5, 6])
    np.testing.assert_allclose(counts, 1000, rtol=0.15)
    ones = batch.targets.sum(axis=(0, 1)) / lengths.sum()
    np.testing.assert_allclose(ones, 0.5, atol=0.02)

  @parameterized.named_parameters(
    ("no_bits", {"num_bits": 0}, "num_bits must be at least 1, got 0"),
    (
      "instances",
      {"min_instances": 2},
      "max_instances must be at least min_instances = 2, got 1",
    ),
    ("no_length", {"min_length": 0}, "min_length must be at least 1, got 0"),
    (
      "length",
      {"min_length": 21},
      "max_length must be at least min_length = 21, got 20",
    ),
  )
  def test_impossible_sizes_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      Copy(**options)


if __name__ == "__main__":
  absltest.main()
