"""Tests of associative recall."""

import hypothesis
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from tasks.associative_recall import AssociativeRecall

HYPOTHESIS = hypothesis.settings(
  max_examples=50, deadline=None, derandomize=True, database=None
)


def draw(task, size=1, seed=0, length=None):
  return task.sample(
    np.random.default_rng(seed), np.zeros(size, int), length=length
  )


class AssociativeRecallTest(parameterized.TestCase):
  def test_drawn_by_hand(self):
    task = AssociativeRecall(
      num_bits=2, item_length=2, min_items=3, max_items=3
    )
    batch = draw(task, length=17)
    inputs = batch.inputs[:, 0]
    items = [inputs[x + 1 : x + 3, :2] for x in (0, 3, 6)]
    asked = 0 if (inputs[10:12, :2] == items[0]).all() else 1
    pause = [[0, 0]]
    parts = [pause, items[0], pause, items[1], pause, items[2]]
    parts += [pause, items[asked], pause, np.zeros((4, 2))]
    np.testing.assert_array_equal(inputs[:, :2], np.concatenate(parts))
    self.assertEqual(np.flatnonzero(inputs[:, 2]).tolist(), [0, 3, 6])
    self.assertEqual(np.flatnonzero(inputs[:, 3]).tolist(), [9, 12])
    np.testing.assert_array_equal(batch.targets[13:15, 0], items[asked + 1])
    self.assertEqual(np.flatnonzero(batch.mask[:, 0]).tolist(), [13, 14])

  def test_picture(self):
    task = AssociativeRecall(
      num_bits=1, item_length=1, min_items=2, max_items=2
    )
    batch = draw(task)
    batch.inputs[[1, 3, 5], 0, 0] = [1, 0, 1]
    batch.targets[7, 0, 0] = 0
    self.assertEqual(
      task.render(batch, -task.solve(np.asarray(batch.inputs))),
      """\
Observations:
+- 1 - - - 1 - -+
+1 - 1 - - - - -+
+- - - - 1 - 1 -+
Targets:
+- - - - - - - -+
Model Output:
+- - - - - - - 1+""",
    )

  @HYPOTHESIS
  @hypothesis.given(
    st.integers(2, 5),
    st.integers(1, 4),
    st.integers(2, 4),
    st.integers(0, 5),
    st.integers(0, 2**32 - 1),
  )
  def test_what_followed_is_wanted(self, num_bits, size, least, more, seed):
    kinds = 2 ** (num_bits * size)
    most = min(least + more, kinds)
    task = AssociativeRecall(num_bits, size, least, most)
    batch = draw(task, 6, seed)
    longest = 0
    for row in range(6):
      inputs = batch.inputs[:, row]
      begins = np.flatnonzero(inputs[:, num_bits])
      self.assertBetween(len(begins), least, most)
      items = [
        inputs[x + 1 : x + 1 + size, :num_bits].tobytes() for x in begins
      ]
      self.assertLen(set(items), len(items))
      first, last = np.flatnonzero(inputs[:, num_bits + 1])
      self.assertEqual(last - first, size + 1)
      told = items.index(inputs[first + 1 : last, :num_bits].tobytes())
      answer = batch.targets[last + 1 : last + 1 + size, row]
      self.assertEqual(answer.tobytes(), items[told + 1])
      np.testing.assert_array_equal(
        np.flatnonzero(batch.mask[:, row]), last + 1 + np.arange(size)
      )
      longest = max(longest, last + 1 + size)
    self.assertLen(batch.inputs, longest)

  def test_items_and_queries_are_drawn_equally(self):
    task = AssociativeRecall(1, 2, 4, 4)  # All there are.
    batch = draw(task, 4000)
    first = batch.inputs[1:3, :, 0]
    codes, counts = np.unique(2 * first[0] + first[1], return_counts=True)
    self.assertLen(codes, 4)
    np.testing.assert_allclose(counts, 1000, rtol=0.15)
    query = batch.inputs[13:15, :, 0]
    position = [
      (batch.inputs[3 * i + 1 : 3 * i + 3, :, 0] == query).all(axis=0)
      for i in range(4)
    ]
    np.testing.assert_allclose(
      np.sum(position, axis=1), [4000 / 3] * 3 + [0], rtol=0.1
    )

  @parameterized.named_parameters(
    ("no_bits", {"num_bits": 0}, "num_bits must be at least 1, got 0"),
    ("one_item", {"min_items": 1}, "min_items must be at least 2, got 1"),
    (
      "range",
      {"min_items": 7},
      "max_items must be at least min_items = 7, got 6",
    ),
    (
      "kinds",
      {"num_bits": 1, "item_length": 2},
      "max_items must be at most 4, as many as there are items of 2 vectors",
    ),
  )
  def test_impossible_sizes_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      AssociativeRecall(**options)


if __name__ == "__main__":
  absltest.main()
