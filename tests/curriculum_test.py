"""Tests of the curriculum's rule."""

import json

import hypothesis
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from dnc_jax import curriculum as lib

HYPOTHESIS = hypothesis.settings(
  max_examples=100, deadline=None, derandomize=True, database=None
)


def run(curriculum, batches, state=None):
  """Returns the states after each batch of (right, count)."""
  states = [state or lib.CurriculumState()]
  for right, count in batches:
    states.append(lib.observe(curriculum, states[-1], right, count))
  return states[1:]


class ObserveTest(parameterized.TestCase):
  def test_the_papers_rule(self):
    curriculum = lib.Curriculum(num_lessons=3)
    # 90 of 100 right: nothing before the 100th batch, then the next lesson.
    states = run(curriculum, [(1, 1)] * 90 + [(0, 1)] * 10)
    self.assertEqual({state.lesson for state in states[:-1]}, {0})
    self.assertEqual(states[-1], lib.CurriculumState(lesson=1))
    # One fewer: the same lesson, with the window forgotten.
    states = run(curriculum, [(1, 1)] * 89 + [(0, 1)] * 11)
    self.assertEqual(states[-1], lib.CurriculumState(lesson=0, steps=100))

  def test_a_bad_window_does_not_weigh_on_the_next(self):
    curriculum = lib.Curriculum(num_lessons=2, interval=3)
    states = run(curriculum, [(0, 4)] * 3 + [(4, 4)] * 3)
    self.assertEqual([state.lesson for state in states], [0] * 5 + [1])

  def test_checks_count_from_the_lessons_first_batch(self):
    curriculum = lib.Curriculum(
      num_lessons=4, interval=4, max_steps_per_lesson=6
    )
    # The cap ends lesson 0 after 6 batches; lesson 1 is checked 4 later.
    states = run(curriculum, [(0, 1)] * 6 + [(1, 1)] * 4)
    self.assertEqual(
      [state.lesson for state in states], [0] * 5 + [1] * 4 + [2]
    )
    self.assertEqual([s.steps for s in states], [1, 2, 3, 4, 5, 0, 1, 2, 3, 0])

  def test_the_last_lesson_never_ends(self):
    curriculum = lib.Curriculum(
      num_lessons=2, interval=1, max_steps_per_lesson=2
    )
    states = run(curriculum, [(1, 1)] * 5)
    self.assertEqual([state.lesson for state in states], [1] * 5)
    self.assertEqual([state.steps for state in states], [0, 1, 2, 3, 4])
    self.assertEqual(states[-1], lib.CurriculumState(lesson=1, steps=4))

  def test_no_episodes_decide_nothing(self):
    curriculum = lib.Curriculum(num_lessons=2, interval=2)
    states = run(curriculum, [(0, 0)] * 4)
    self.assertEqual(states[-1], lib.CurriculumState(lesson=0, steps=4))

  def test_arrays_of_one_number_become_floats(self):
    state = lib.observe(
      lib.Curriculum(num_lessons=1),
      lib.CurriculumState(),
      np.float32(1),  # pyright: ignore[reportArgumentType]
      np.float32(2),  # pyright: ignore[reportArgumentType]
    )
    self.assertEqual(json.loads(json.dumps(state.to_json())), state._asdict())

  @HYPOTHESIS
  @hypothesis.given(
    st.builds(
      lib.Curriculum,
      num_lessons=st.integers(1, 4),
      threshold=st.floats(0.1, 1),
      interval=st.integers(1, 4),
      max_steps_per_lesson=st.none() | st.integers(1, 6),
    ),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30),
    st.integers(0, 30),
  )
  def test_an_interrupted_run_equals_an_unbroken_one(
    self, curriculum, pairs, stop
  ):
    batches = [(min(pair), max(pair)) for pair in pairs]
    unbroken = run(curriculum, batches)
    first = run(curriculum, batches[:stop])
    saved = (first[-1] if first else lib.CurriculumState()).to_json()
    state = lib.CurriculumState.from_json(json.loads(json.dumps(saved)))
    self.assertEqual(first + run(curriculum, batches[stop:], state), unbroken)
    lessons = [0, *(state.lesson for state in unbroken)]
    self.assertTrue(set(np.diff(lessons)) <= {0, 1})
    self.assertLess(lessons[-1], curriculum.num_lessons)
    for state in unbroken:
      self.assertLessEqual(0, state.right)
      self.assertLessEqual(state.right, state.count)

  @parameterized.parameters(
    (2, 1), (-1, 1), (float("nan"), 1), (1, float("nan")), (1, float("inf"))
  )
  def test_impossible_counts_are_refused(self, right, count):
    with self.assertRaisesRegex(ValueError, "right must be from 0 to count"):
      lib.observe(
        lib.Curriculum(num_lessons=1), lib.CurriculumState(), right, count
      )

  def test_a_lesson_outside_the_curriculum_is_refused(self):
    curriculum = lib.Curriculum(num_lessons=2)
    with self.assertRaisesRegex(ValueError, "from 0 to 1, got 2"):
      lib.observe(curriculum, lib.CurriculumState(lesson=2), 0, 1)
    with self.assertRaisesRegex(ValueError, "from 0 to 1, got -1"):
      lib.example_lessons(curriculum, -1, np.random.default_rng(0), 4)


class ExampleLessonsTest(parameterized.TestCase):
  def test_a_tenth_is_drawn_evenly_from_the_earlier_lessons(self):
    lessons = lib.example_lessons(
      lib.Curriculum(num_lessons=9), 4, np.random.default_rng(0), 40_000
    )
    self.assertEqual(lessons.dtype, np.int32)
    self.assertEqual(lessons.shape, (40_000,))
    counts = np.bincount(lessons)
    # Five standard deviations are 158 of the earlier lessons, 300 of this one.
    np.testing.assert_allclose(counts[:4], 1000, atol=158, rtol=0)
    np.testing.assert_allclose(counts[4:], [36_000], atol=300, rtol=0)

  @parameterized.parameters((0.0, {3}), (1.0, {0, 1, 2}))
  def test_none_or_all(self, fraction, expected):
    curriculum = lib.Curriculum(num_lessons=4, earlier_fraction=fraction)
    lessons = lib.example_lessons(curriculum, 3, np.random.default_rng(0), 99)
    self.assertEqual(set(lessons.tolist()), expected)

  def test_the_first_lesson_has_no_earlier_ones(self):
    curriculum = lib.Curriculum(num_lessons=2, earlier_fraction=1.0)
    lessons = lib.example_lessons(curriculum, 0, np.random.default_rng(0), 5)
    np.testing.assert_array_equal(lessons, np.zeros(5, np.int32))
    self.assertEqual(lessons.dtype, np.int32)

  def test_the_same_generator_gives_the_same_lessons(self):
    curriculum = lib.Curriculum(num_lessons=5, earlier_fraction=0.5)
    draws = [
      lib.example_lessons(curriculum, 4, np.random.default_rng([1, step]), 64)
      for step in (7, 7, 8)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    self.assertTrue((draws[0] != draws[2]).any())

  def test_no_examples_are_refused(self):
    with self.assertRaisesRegex(ValueError, "batch_size"):
      lib.example_lessons(
        lib.Curriculum(num_lessons=1), 0, np.random.default_rng(0), 0
      )


class ValuesTest(parameterized.TestCase):
  @parameterized.parameters(
    {"num_lessons": 0},
    {"threshold": 0.0},
    {"threshold": 90.0},
    {"threshold": float("nan")},
    {"interval": 0},
    {"earlier_fraction": -0.1},
    {"earlier_fraction": 10.0},
    {"max_steps_per_lesson": 0},
  )
  def test_impossible_settings_are_refused_by_name(self, **setting):
    ((name, value),) = setting.items()
    with self.assertRaisesRegex(ValueError, f"^{name} must .* got {value}"):
      lib.Curriculum(**{"num_lessons": 3} | setting)

  @parameterized.named_parameters(
    ("not_a_dictionary", [0, 0, 0.0, 0.0], "fields"),
    ("a_field_missing", {"lesson": 0, "steps": 0, "right": 0.0}, "fields"),
    ("a_field_too_many", lib.CurriculumState()._asdict() | {"x": 1}, "fields"),
    ("negative", {"lesson": -1}, "lesson must be at least 0"),
    ("not_an_integer", {"steps": 0.5}, "steps must be an integer"),
    ("not_a_number", {"right": "1"}, "right must be a number"),
    ("more_right_than_seen", {"right": 2.0}, "right must be from 0 to count"),
  )
  def test_another_state_is_refused(self, data, message):
    if isinstance(data, dict) and len(data) == 1:
      data = lib.CurriculumState()._asdict() | data
    with self.assertRaisesRegex(ValueError, message):
      lib.CurriculumState.from_json(data)


if __name__ == "__main__":
  absltest.main()
