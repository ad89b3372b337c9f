"""Tests of repeat copy, against DeepMind's encoding."""

import dataclasses
import math

import hypothesis
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from tasks.repeat_copy import RepeatCopy

HYPOTHESIS = hypothesis.settings(
  max_examples=50, deadline=None, derandomize=True, database=None
)


class Scripted(np.random.Generator):
  """A generator whose integers are those that it was given."""

  def __init__(self, *draws):
    super().__init__(np.random.PCG64(0))
    self.draws = list(draws)

  def integers(self, low, high=None, size=None, *args, **kwargs):  # noqa: ARG002
    draw = np.array(self.draws.pop(0))
    assert high is not None
    assert size in (len(draw), draw.shape)
    assert (low <= draw).all()
    assert (draw < high).all()
    return draw


def channels(drawing):
  """Returns a drawing's numbers, a channel a line, as ``[T, channels]``."""
  rows = [line.split() for line in drawing.strip().splitlines()]
  return np.array(
    [[0 if x == "." else float(x) for x in row] for row in rows]
  ).T


def element(pattern, repeats, norm_max):
  """Returns one sequence's (inputs, targets, mask) built a step at a time."""
  num_bits = len(pattern[0])
  silence, nothing = [0.0] * (num_bits + 2), [0.0] * (num_bits + 1)
  inputs = [[0.0] * num_bits + [1.0, 0.0]]
  inputs += [[*bits, 0.0, 0.0] for bits in pattern]
  inputs += [[0.0] * num_bits + [0.0, repeats / norm_max]]
  targets = [nothing] * len(inputs)
  for _ in range(repeats):
    targets += [[*bits, 0.0] for bits in pattern]
  targets += [[0.0] * num_bits + [1.0]]
  num_scored = len(targets) - len(inputs)
  mask = [0.0] * len(inputs) + [1.0] * num_scored
  return inputs + [silence] * num_scored, targets, mask


class DrawnByHandTest(parameterized.TestCase):
  """Two patterns of up to 3 bits, of which the second is padded."""

  def setUp(self):
    super().setUp()
    self.task = RepeatCopy(num_bits=3, max_length=2, max_repeats=2)
    bits = np.zeros((2, 2, 3), np.int8)
    bits[:, 0] = [[1, 1, 0], [0, 1, 1]]
    # The second pattern has one step. The other's bits must not be told.
    bits[:, 1] = [[0, 0, 1], [1, 1, 1]]
    rng = Scripted([2, 1], [2, 1], bits)
    self.batch = self.task.sample(rng, np.zeros(2, int))

  def test_two_steps_twice(self):
    inputs = """
      . 1 . . . . . . .
      . 1 1 . . . . . .
      . . 1 . . . . . .
      1 . . . . . . . .
      . . . .2 . . . . .
    """
    targets = """
      . . . . 1 . 1 . .
      . . . . 1 1 1 1 .
      . . . . . 1 . 1 .
      . . . . . . . . 1
    """
    mask = ". . . . 1 1 1 1 1"
    np.testing.assert_allclose(
      self.batch.inputs[:, 0], channels(inputs), rtol=1e-7
    )
    np.testing.assert_array_equal(self.batch.targets[:, 0], channels(targets))
    np.testing.assert_array_equal(self.batch.mask[:, :1], channels(mask))

  def test_one_step_once_and_padding(self):
    inputs = """
      . . . . . . . . .
      . . . . . . . . .
      . 1 . . . . . . .
      1 . . . . . . . .
      . . .1 . . . . . .
    """
    targets = """
      . . . . . . . . .
      . . . . . . . . .
      . . . 1 . . . . .
      . . . . 1 . . . .
    """
    mask = ". . . 1 1 . . . ."
    np.testing.assert_allclose(
      self.batch.inputs[:, 1], channels(inputs), rtol=1e-7
    )
    np.testing.assert_array_equal(self.batch.targets[:, 1], channels(targets))
    np.testing.assert_array_equal(self.batch.mask[:, 1:], channels(mask))

  def test_picture(self):
    logits = np.full((9, 2, 4), -2.0)
    logits[:4] = 5  # Not scored, so not shown.
    logits[4, 0, 0] = 0.1
    logits[8, 0, 3] = 3
    self.assertEqual(
      self.task.render(self.batch, logits, index=0),
      """\
Observations:
+- 1 - - - - - - -+
+- 1 1 - - - - - -+
+- - 1 - - - - - -+
+1 - - - - - - - -+
+- - - 2 - - - - -+
Targets:
+- - - - 1 - 1 - -+
+- - - - 1 1 1 1 -+
+- - - - - 1 - 1 -+
+- - - - - - - - 1+
Model Output:
+- - - - 1 - - - -+
+- - - - - - - - -+
+- - - - - - - - -+
+- - - - - - - - 1+""",
    )

  def test_picture_of_the_second_has_no_padding(self):
    self.assertEqual(
      self.task.render(self.batch, index=1),
      """\
Observations:
+- - - - -+
+- - - - -+
+- 1 - - -+
+1 - - - -+
+- - 1 - -+
Targets:
+- - - - -+
+- - - - -+
+- - - 1 -+
+- - - - 1+""",
    )


class RepeatCopyTest(parameterized.TestCase):
  def test_defaults_are_those_of_deepminds_script(self):
    self.assertEqual(
      dataclasses.asdict(RepeatCopy()),
      {
        "num_bits": 4,
        "min_length": 1,
        "max_length": 2,
        "min_repeats": 1,
        "max_repeats": 2,
        "norm_max": 10,
        "time_average": False,
        # One pattern, as there.
        "min_instances": 1,
        "max_instances": 1,
        "growing": False,
      },
    )

  @HYPOTHESIS
  @hypothesis.given(
    st.integers(1, 6),
    st.tuples(st.integers(1, 6), st.integers(0, 4)),
    st.tuples(st.integers(1, 12), st.integers(0, 4)),
    st.sampled_from([10, 1, 2.5]),
    st.integers(0, 2**32 - 1),
  )
  def test_every_sequence_is_as_built_step_by_step(
    self, num_bits, lengths, repeats, norm_max, seed
  ):
    task = RepeatCopy(
      num_bits=num_bits,
      min_length=lengths[0],
      max_length=sum(lengths),
      min_repeats=repeats[0],
      max_repeats=sum(repeats),
      norm_max=norm_max,
    )
    batch = task.sample(np.random.default_rng(seed), np.zeros(5, int))
    longest = 0
    for row in range(5):
      inputs = batch.inputs[:, row]
      (asked,) = np.flatnonzero(inputs[:, num_bits + 1])
      times = round(inputs[asked, num_bits + 1] * norm_max)
      self.assertBetween(asked - 1, task.min_length, task.max_length)
      self.assertBetween(times, task.min_repeats, task.max_repeats)
      expected = element(inputs[1:asked, :num_bits], times, norm_max)
      length = (asked - 1) * (times + 1) + 3
      self.assertLen(expected[0], length)
      longest = max(longest, length)
      for array, part in zip(batch[:3], expected, strict=True):
        np.testing.assert_allclose(
          array[:length, row], np.array(part), rtol=1e-6
        )
        self.assertFalse(np.any(array[length:, row]))
    self.assertLen(batch.inputs, longest)

  def test_all_lengths_repeats_and_bits_are_drawn_equally(self):
    task = RepeatCopy(min_length=2, max_length=4, min_repeats=3, max_repeats=4)
    batch = task.sample(np.random.default_rng(0), np.zeros(6000, int))
    asked = batch.inputs[..., 5].argmax(axis=0)
    times = np.rint(batch.inputs[..., 5].max(axis=0) * 10).astype(int)
    pairs, counts = np.unique(
      np.stack([asked - 1, times]), axis=1, return_counts=True
    )
    self.assertEqual(pairs.tolist(), [[2, 2, 3, 3, 4, 4], [3, 4, 3, 4, 3, 4]])
    np.testing.assert_allclose(counts, 1000, rtol=0.15)
    ones = batch.inputs[..., :4].sum(axis=(0, 1)) / (asked - 1).sum()
    np.testing.assert_allclose(ones, 0.5, atol=0.02)

  def test_time_average_divides_by_the_scored_steps(self):
    mask = np.array([[1.0, 1.0], [1.0, 0.0]], np.float32)
    zeros = np.zeros((2, 2, 5), np.float32)
    for time_average, loss in ((False, 7.5), (True, 5.0)):
      task = RepeatCopy(time_average=time_average)
      np.testing.assert_allclose(
        task.objective(zeros, zeros, mask).loss, loss * math.log(2), rtol=1e-6
      )

  @parameterized.named_parameters(
    ("no_bits", {"num_bits": 0}, "num_bits must be at least 1, got 0"),
    ("no_length", {"min_length": 0}, "min_length must be at least 1, got 0"),
    (
      "length",
      {"min_length": 3},
      "max_length must be at least min_length = 3, got 2",
    ),
    ("no_repeats", {"min_repeats": 0}, "min_repeats must be at least 1, got 0"),
    (
      "repeats",
      {"min_repeats": 5, "max_repeats": 4},
      "max_repeats must be at least min_repeats = 5, got 4",
    ),
    ("norm_max", {"norm_max": 0}, "norm_max must be above 0, got 0"),
    ("norm_max_nan", {"norm_max": math.nan}, "norm_max must be above 0"),
  )
  def test_impossible_sizes_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      RepeatCopy(**options)


if __name__ == "__main__":
  absltest.main()
