"""Tests of the CSV file and of the means."""

import json
import math
import pathlib

import hypothesis
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from dnc_jax import metrics

FIELDS = ("step", "train/loss", "lesson")
NAMES = ("loss", "eval/loss", "ß")
HYPOTHESIS = hypothesis.settings(
  max_examples=50, deadline=None, derandomize=True, database=None
)


def row(step):
  return {"step": step, "train/loss": math.sin(step), "lesson": step // 3}


class WriterTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(self.create_tempdir().full_path) / "metrics.csv"

  def write(self, steps, resume_rows=None):
    with metrics.Writer(self.path, FIELDS, resume_rows) as writer:
      for step in steps:
        writer.write(row(step))
      return writer.rows

  def test_a_resumed_file_has_the_bytes_of_an_unbroken_one(self):
    self.assertEqual(self.write(range(10)), 10)
    unbroken = self.path.read_bytes()
    self.path.unlink()
    # Stopped after 7 rows, of which the checkpoint knows 4.
    self.write(range(7))
    self.assertEqual(self.write(range(4, 10), resume_rows=4), 10)
    self.assertEqual(self.path.read_bytes(), unbroken)

  def test_a_file_cut_anywhere_after_the_checkpoint_is_mended(self):
    self.write(range(5))
    unbroken = self.path.read_bytes()
    kept = sum(map(len, unbroken.splitlines(keepends=True)[:4]))  # 3 rows
    for size in range(kept, len(unbroken)):
      self.path.write_bytes(unbroken[:size])
      self.write(range(3, 5), resume_rows=3)
      self.assertEqual(self.path.read_bytes(), unbroken)

  def test_a_file_cut_within_its_header_is_begun_again(self):
    self.write(range(2))
    unbroken = self.path.read_bytes()
    for size in range(unbroken.index(b"\n") + 1):
      self.path.write_bytes(unbroken[:size])
      self.write(range(2), resume_rows=0)
      self.assertEqual(self.path.read_bytes(), unbroken)

  def test_without_a_number_every_whole_row_is_kept(self):
    self.write(range(3))
    with self.path.open("ab") as file:
      file.write(b"3,0.1")
    self.assertEqual(self.write(range(3, 5)), 5)
    resumed = self.path.read_bytes()
    self.write(range(5), resume_rows=0)
    self.assertEqual(self.path.read_bytes(), resumed)

  def test_each_row_is_in_the_file_at_once(self):
    writer = metrics.Writer(self.path, ("step",))
    for step in range(3):
      writer.write({"step": step})
      self.assertLen(self.path.read_text().splitlines(), step + 2)
    writer.close()

  def test_cells(self):
    with metrics.Writer(self.path, tuple("abcdefg")) as writer:
      writer.write(
        {
          "g": "copy task",
          "f": None,
          "a": np.float32(0.1),
          "b": jnp.asarray([3]),
          "c": 0.1,
          "d": float("nan"),
        }
      )
    self.assertEqual(
      self.path.read_text(),
      "a,b,c,d,e,f,g\n0.10000000149011612,3,0.1,nan,,,copy task\n",
    )

  def test_another_header_is_refused_with_both(self):
    self.write(range(2))
    before = self.path.read_bytes()
    with self.assertRaisesRegex(
      ValueError, "'step,train/loss,lesson', not 'step,eval/loss'"
    ):
      metrics.Writer(self.path, ("step", "eval/loss"))
    with self.assertRaisesRegex(ValueError, "not 'step'"):
      metrics.Writer(self.path, ("step",), resume_rows=0)
    self.assertEqual(self.path.read_bytes(), before)

  def test_a_file_with_too_few_rows_is_refused(self):
    with self.assertRaisesRegex(ValueError, "0 rows, fewer than resume_rows"):
      self.write([], resume_rows=1)
    self.write(range(2), resume_rows=0)
    with self.assertRaisesRegex(ValueError, "has 2 rows, fewer .* = 3"):
      self.write([], resume_rows=3)

  @parameterized.named_parameters(
    ("unknown_field", {"step": 1, "eval/loss": 2}, "'eval/loss'"),
    ("comma", {"step": "a,b"}, "comma"),
    ("line_break", {"step": "a\nb"}, "line break"),
    ("array", {"step": np.zeros(2)}, r"shape \(2,\) for 'step'"),
    ("list", {"step": [1]}, "a list for 'step'"),
  )
  def test_a_row_that_does_not_fit_is_refused_whole(self, bad, message):
    with metrics.Writer(self.path, FIELDS) as writer:
      with self.assertRaisesRegex(ValueError, message):
        writer.write(bad)
      self.assertEqual(writer.rows, 0)
    self.assertEqual(self.path.read_text(), "step,train/loss,lesson\n")

  @parameterized.named_parameters(
    ("none", (), None),
    ("twice", ("step", "step"), None),
    ("comma", ("step,loss",), None),
    ("negative", ("step",), -1),
  )
  def test_impossible_settings_are_refused(self, fields, resume_rows):
    with self.assertRaisesRegex(ValueError, "fields|resume_rows"):
      metrics.Writer(self.path, fields, resume_rows)
    self.assertFalse(self.path.exists())

  def test_a_path_that_cannot_be_written_is_one_line(self):
    self.path.write_text("a file")
    with self.assertRaisesRegex(ValueError, "^path .* cannot be written:.*$"):
      metrics.Writer(self.path / "metrics.csv", FIELDS)


class RunningMeanTest(parameterized.TestCase):
  def test_means_are_over_as_many_as_came(self):
    mean = metrics.RunningMean()
    self.assertEqual(mean.means(), {})
    mean.add({"loss": np.float32(0.5), "norm": 1})
    mean.add({"loss": jnp.asarray(1.0)})
    self.assertEqual(mean.means(), {"loss": 0.75, "norm": 1.0})

  def test_sums_are_in_double_precision(self):
    mean = metrics.RunningMean()
    mean.add({"loss": np.float32(2**24)})
    mean.add({"loss": np.float32(1)})  # Lost in a float32 sum.
    self.assertEqual(mean.means(), {"loss": (2**24 + 1) / 2})

  @HYPOTHESIS
  @hypothesis.given(
    st.lists(
      st.dictionaries(st.sampled_from(NAMES), st.floats(-1e300, 1e300)),
      max_size=8,
    ),
    st.integers(0, 8),
  )
  def test_interrupted_means_equal_unbroken_ones(self, values, stop):
    unbroken, mean = metrics.RunningMean(), metrics.RunningMean()
    for number, value in enumerate(values):
      if number == stop:
        saved = json.dumps(mean.state())
        mean = metrics.RunningMean.from_state(json.loads(saved))
      unbroken.add(value)
      mean.add(value)
    self.assertEqual(repr(mean.means()), repr(unbroken.means()))
    self.assertEqual(mean.state(), unbroken.state())

  def test_a_state_is_not_changed_by_later_values(self):
    mean = metrics.RunningMean()
    mean.add({"loss": 1.0})
    state = mean.state()
    resumed = metrics.RunningMean.from_state(state)
    mean.add({"loss": 2.0})
    resumed.add({"loss": 3.0})
    self.assertEqual(state, {"sums": {"loss": 1.0}, "counts": {"loss": 1}})

  @parameterized.named_parameters(
    ("empty", {}),
    ("none", None),
    ("not_numbers", {"sums": {"a": "x"}, "counts": {"a": 1}}),
    ("other_names", {"sums": {"a": 1.0}, "counts": {"b": 1}}),
    ("zero_count", {"sums": {"a": 1.0}, "counts": {"a": 0}}),
  )
  def test_another_state_is_refused(self, state):
    with self.assertRaisesRegex(ValueError, "state must"):
      metrics.RunningMean.from_state(state)


if __name__ == "__main__":
  absltest.main()
