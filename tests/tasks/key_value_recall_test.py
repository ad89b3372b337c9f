"""Tests of key-value recall."""

import hypothesis
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from tasks.key_value_recall import KeyValueRecall

HYPOTHESIS = hypothesis.settings(
  max_examples=50, deadline=None, derandomize=True, database=None
)


def draw(task, size=1, seed=0, length=None):
  return task.sample(
    np.random.default_rng(seed), np.zeros(size, int), length=length
  )


class KeyValueRecallTest(parameterized.TestCase):
  def test_drawn_by_hand(self):
    task = KeyValueRecall(num_bits=2, min_items=2, max_items=2)
    batch = draw(task, length=6)
    (a, b, c, d), (e, f, g, h) = batch.inputs[:2, 0, :4]
    self.assertLessEqual({a, b, c, d, e, f, g, h}, {0.0, 1.0})
    self.assertNotEqual((a, b), (e, f))
    first, second = ([a, b], [c, d]), ([e, f], [g, h])
    if batch.inputs[3, 0, :2].tolist() != [a, b]:
      first, second = second, first
    np.testing.assert_array_equal(
      batch.inputs[:, 0],
      [
        [a, b, c, d, 0],
        [e, f, g, h, 0],
        [0, 0, 0, 0, 1],
        [*first[0], 0, 0, 0],
        [*second[0], 0, 0, 0],
        [0, 0, 0, 0, 0],
      ],
    )
    np.testing.assert_array_equal(
      batch.targets[:, 0], [[0, 0]] * 3 + [first[1], second[1], [0, 0]]
    )
    np.testing.assert_array_equal(batch.mask[:, 0], [0, 0, 0, 1, 1, 0])

  def test_both_ways_drawn_by_hand(self):
    task = KeyValueRecall(num_bits=3, min_items=1, max_items=1, two_way=True)
    batch = draw(task, length=6)
    key, value = batch.inputs[0, 0, :3], batch.inputs[0, 0, 3:6]
    nothing = [0, 0, 0]
    np.testing.assert_array_equal(
      batch.inputs[:, 0],
      [
        [*key, *value, 0, 0],
        [*nothing, *nothing, 1, 0],
        [*key, *nothing, 0, 0],
        [*nothing, *nothing, 0, 1],
        [*value, *nothing, 0, 0],
        [*nothing, *nothing, 0, 0],
      ],
    )
    np.testing.assert_array_equal(
      batch.targets[:, 0], [nothing, nothing, value, nothing, key, nothing]
    )
    np.testing.assert_array_equal(batch.mask[:, 0], [0, 0, 1, 0, 1, 0])

  def test_picture(self):
    task = KeyValueRecall(num_bits=1, min_items=2, max_items=2, two_way=True)
    batch = draw(task)
    # Key 1 has the value 0, key 0 the value 1.
    batch.inputs[:, 0, 0] = [1, 0, 0, 0, 1, 0, 0, 1]
    batch.inputs[:2, 0, 1] = [0, 1]
    batch.targets[:, 0, 0] = [0, 0, 0, 1, 0, 0, 1, 0]
    self.assertEqual(
      task.render(batch, -task.solve(np.asarray(batch.inputs))),
      """\
Observations:
+1 - - - 1 - - 1+
+- 1 - - - - - -+
+- - 1 - - - - -+
+- - - - - 1 - -+
Targets:
+- - - 1 - - 1 -+
Model Output:
+- - - - 1 - - 1+""",
    )

  @HYPOTHESIS
  @hypothesis.given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 20),
    st.booleans(),
    st.integers(0, 2**32 - 1),
  )
  def test_each_is_asked_once_and_its_other_wanted(
    self, num_bits, least, more, two_way, seed
  ):
    most = min(least + more, 2**num_bits)
    least = min(least, most)
    task = KeyValueRecall(num_bits, least, most, two_way)
    batch = draw(task, 6, seed)
    longest = 0
    for row in range(6):
      heard = batch.inputs[:, row]
      flags = [np.flatnonzero(x).tolist() for x in heard.T[2 * num_bits :]]
      count = flags[0][0]
      self.assertBetween(count, least, most)
      ends = [count, 2 * count + 1, 3 * count + 2][: 2 + two_way]
      self.assertEqual(flags, [[x] for x in ends[:-1]])
      self.assertFalse(heard[ends[:-1], : 2 * num_bits].any())
      self.assertFalse(heard[count:, num_bits : 2 * num_bits].any())
      keys = [x.tobytes() for x in heard[:count, :num_bits]]
      values = [x.tobytes() for x in heard[:count, num_bits : 2 * num_bits]]
      self.assertLen(set(keys), count)
      if two_way:
        self.assertLen(set(values), count)
      scored = []
      for end, told, wanted in zip(
        ends, (keys, values), (values, keys), strict=False
      ):
        if end == ends[-1]:
          break
        steps = range(end + 1, end + 1 + count)
        asked = [heard[t, :num_bits].tobytes() for t in steps]
        self.assertCountEqual(asked, told)
        for t, vector in zip(steps, asked, strict=True):
          self.assertEqual(
            batch.targets[t, row].tobytes(), wanted[told.index(vector)]
          )
        scored += steps
      self.assertEqual(np.flatnonzero(batch.mask[:, row]).tolist(), scored)
      longest = max(longest, ends[-1])
    self.assertLen(batch.inputs, longest)
    self.assertEqual(task.length(0), (2 + two_way) * (most + 1) - 1)

  def test_pairs_and_orders_are_drawn_equally(self):
    task = KeyValueRecall(2, 4, 4, two_way=True)  # All there are.
    batch = draw(task, 4000)
    heard, wanted = np.asarray(batch.inputs), np.asarray(batch.targets)
    # Each vector is in each place: of keys, values, and either asked for.
    for begin, channel in ((0, 0), (0, 2), (5, 0), (10, 0)):
      for place in heard[begin : begin + 4, :, channel : channel + 2] @ [1, 2]:
        np.testing.assert_allclose(
          np.bincount(place.astype(int)), 1000, rtol=0.15
        )
    first = heard[0, :, :2]
    places = [(heard[5 + i, :, :2] == first).all(1) for i in range(4)]
    np.testing.assert_allclose(np.sum(places, axis=1), 1000, rtol=0.15)
    # The values are asked for in an order of their own.
    by_key = heard[5:9, :, :2] @ [1, 2]
    by_value = wanted[10:14] @ [1, 2]
    self.assertBetween((by_key == by_value).mean(), 0.23, 0.27)

  def test_numbers_of_pairs_are_drawn_equally(self):
    scored = draw(KeyValueRecall(3, 2, 5), 4000).mask.sum(axis=0).astype(int)
    counts = np.bincount(scored, minlength=6)
    np.testing.assert_allclose(
      counts, [0, 0, 1000, 1000, 1000, 1000], rtol=0.15
    )

  def test_values_may_be_alike_one_way(self):
    task = KeyValueRecall(num_bits=1, min_items=2, max_items=2)
    values = draw(task, 1000).inputs[:2, :, 1]
    self.assertBetween((values[0] == values[1]).mean(), 0.45, 0.55)

  @parameterized.named_parameters(
    ("no_bits", {"num_bits": 0}, "num_bits must be at least 1, got 0"),
    ("no_pair", {"min_items": 0}, "min_items must be at least 1, got 0"),
    (
      "range",
      {"min_items": 17},
      "max_items must be at least min_items = 17, got 16",
    ),
    (
      "kinds",
      {"num_bits": 3},
      "max_items must be at most 8, as many as there are keys of 3 bits, got "
      "16",
    ),
  )
  def test_impossible_sizes_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      KeyValueRecall(**options)


if __name__ == "__main__":
  absltest.main()
