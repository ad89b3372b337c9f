"""Properties that every task has, from one table, and the registry."""

import inspect

import jax
import numpy as np
from absl.testing import absltest, parameterized

import tasks
from tasks import inference, shortest_path, traversal
from tasks.associative_recall import AssociativeRecall
from tasks.base import SequenceTask
from tasks.copy_task import Copy
from tasks.dynamic_n_grams import DynamicNGrams
from tasks.inference import Inference
from tasks.key_value_recall import KeyValueRecall
from tasks.priority_sort import PrioritySort
from tasks.repeat_copy import RepeatCopy
from tasks.shortest_path import ShortestPath
from tasks.traversal import Lesson, Traversal

BATCH_SIZE = 8

# By name: a task, and the same beyond the lengths that it is trained on.
TASKS: dict[str, tuple[SequenceTask, SequenceTask]] = {
  "repeat_copy": (
    RepeatCopy(),
    RepeatCopy(min_length=30, max_length=40, min_repeats=11, max_repeats=13),
  ),
  "copy": (Copy(), Copy(min_length=100, max_length=120)),
  "copy_series": (
    Copy(max_length=3, max_instances=4),
    Copy(max_length=9, min_instances=8, max_instances=12),
  ),
  "copy_growing": (
    Copy(max_length=5, min_instances=2, max_instances=5, growing=True),
    Copy(min_length=20, max_length=30, min_instances=3, max_instances=3),
  ),
  "repeat_copy_series": (
    RepeatCopy(max_instances=3),
    RepeatCopy(min_length=9, max_length=12, min_instances=2, max_instances=3),
  ),
  "associative_recall": (
    AssociativeRecall(),
    AssociativeRecall(min_items=20, max_items=30),
  ),
  "key_value_recall": (
    KeyValueRecall(),
    KeyValueRecall(min_items=30, max_items=40),
  ),
  "key_value_recall_two_way": (
    KeyValueRecall(two_way=True),
    KeyValueRecall(min_items=30, max_items=40, two_way=True),
  ),
  "priority_sort": (
    PrioritySort(),
    PrioritySort(min_items=40, max_items=50, num_kept=45),
  ),
  "dynamic_n_grams": (
    DynamicNGrams(),
    DynamicNGrams(min_length=300, max_length=400),
  ),
  "traversal": (
    Traversal(),
    Traversal((Lesson((50, 60), (6, 9), (30, 40)),)),
  ),
  "traversal_city": (
    Traversal(traversal.CITY_LESSONS, small_pools=True),
    Traversal((Lesson((80, 90), (1, 7), (25, 30)),), small_pools=True),
  ),
  "traversal_close": (
    Traversal(traversal.CLOSE_LESSONS, close_labels=True),
    Traversal((Lesson((60, 70), (1, 7), (25, 30)),), close_labels=True),
  ),
  "traversal_queries": (
    Traversal(traversal.CITY_LESSONS, num_queries=3),
    Traversal((Lesson((2, 3), (1, 1), (1, 50)),), num_queries=20),
  ),
  "inference": (
    Inference(),
    Inference((inference.Lesson((50, 60), (6, 10), (4, 5)),)),
  ),
  "inference_worked": (
    Inference(inference.WORKED_LESSONS, worked=True, planning_steps=5),
    Inference(
      (inference.Lesson((40, 50), (5, 10), (5, 5)),),
      num_queries=9,
      planning_steps=12,
      worked=True,
    ),
  ),
}
# Channels that may be on while an answer is given.
FLAGS = {
  "repeat_copy": [],
  "copy": [],
  "associative_recall": [],
  # What is asked for, on the step of the answer.
  "key_value_recall": list(range(6)),
  "priority_sort": [],
  # The bit before the one wanted.
  "dynamic_n_grams": [0],
  "traversal": [90, 91],
  "inference": [90, 91],
}


def generator(step=0):
  return np.random.default_rng([7, step])


def scores(task, batch, logits):
  return jax.jit(task.objective)(logits, batch.targets, batch.mask)


def ends(batch):
  """Returns each sequence's number of steps: the last that says anything."""
  says = batch.inputs.any(axis=-1) | (batch.mask > 0)
  return len(says) - says[::-1].argmax(axis=0)


@parameterized.named_parameters(
  (name, task, longer) for name, (task, longer) in TASKS.items()
)
class SequenceTaskTest(parameterized.TestCase):
  def lessons(self, task):
    """Yields each lesson as a batch's, and all of them mixed."""
    for lesson in range(task.num_lessons):
      yield np.full(BATCH_SIZE, lesson)
    yield np.linspace(task.num_lessons - 1, 0, BATCH_SIZE).astype(int)

  def test_shapes_and_types(self, task, longer):
    for some in (task, longer):
      for lessons in self.lessons(some):
        batch = some.sample(generator(), lessons)
        size, steps = len(lessons), len(batch.inputs)
        self.assertEqual(batch.inputs.shape, (steps, size, some.input_size))
        self.assertEqual(batch.targets.shape, (steps, size, some.output_size))
        self.assertEqual(batch.mask.shape, (steps, size))
        for array in batch[:3]:
          self.assertIs(type(array), np.ndarray)
          self.assertEqual(array.dtype, np.float32)
        self.assertEqual(batch.lesson.dtype, np.int32)
        np.testing.assert_array_equal(batch.lesson, lessons)

  def test_a_network_for_it_is_one_for_longer_ones(self, task, longer):
    self.assertEqual(task.input_size, longer.input_size)
    self.assertEqual(task.output_size, longer.output_size)
    self.assertGreater(longer.length(0), task.length(task.num_lessons - 1) / 2)

  def test_a_batch_depends_on_seed_and_step_alone(self, task, longer):
    del longer
    lessons = np.arange(BATCH_SIZE) % task.num_lessons
    np.random.seed(1)  # noqa: NPY002
    first = task.sample(generator(step=3), lessons)
    np.random.seed(2)  # noqa: NPY002
    before = repr(np.random.get_state())  # noqa: NPY002
    task.sample(generator(step=4), lessons)
    again = task.sample(generator(step=3), lessons)
    self.assertEqual(repr(np.random.get_state()), before)  # noqa: NPY002
    for a, b in zip(first, again, strict=True):
      np.testing.assert_array_equal(a, b)

  def test_another_step_gives_another_batch(self, task, longer):
    del longer
    lessons = np.full(BATCH_SIZE, task.num_lessons - 1)
    length = task.length(task.num_lessons - 1)
    a, b = (
      task.sample(generator(step), lessons, length=length) for step in (3, 4)
    )
    self.assertFalse(np.array_equal(a.inputs, b.inputs))
    self.assertFalse(np.array_equal(a.targets, b.targets))

  def test_sequences_of_a_batch_differ(self, task, longer):
    del task
    batch = longer.sample(generator(), np.zeros(BATCH_SIZE, int))
    kinds = np.unique(batch.inputs.swapaxes(0, 1), axis=0)
    self.assertLen(kinds, BATCH_SIZE)

  def test_only_scored_steps_have_targets(self, task, longer):
    for some in (task, longer):
      for lessons in self.lessons(some):
        batch = some.sample(generator(), lessons)
        self.assertContainsSubset(np.unique(batch.mask).tolist(), [0.0, 1.0])
        self.assertFalse(batch.targets[batch.mask == 0].any())
        self.assertTrue((batch.mask.sum(axis=0) >= 1).all())

  def test_the_answer_is_not_heard_while_it_is_given(self, task, longer):
    for some in (task, longer):
      for lessons in self.lessons(some):
        batch = some.sample(generator(), lessons)
        heard = batch.inputs[batch.mask > 0].any(axis=0)
        self.assertContainsSubset(np.flatnonzero(heard), FLAGS[some.name])

  def test_padding_is_zero_and_changes_nothing(self, task, longer):
    del longer
    for lessons in self.lessons(task):
      batch = task.sample(generator(), lessons)
      steps = len(batch.inputs)
      padded = task.sample(generator(), lessons, length=steps + 5)
      self.assertLen(padded.inputs, steps + 5)
      for short, long in zip(batch[:3], padded[:3], strict=True):
        np.testing.assert_array_equal(short, long[:steps])
        self.assertFalse(long[steps:].any())
      for row, end in enumerate(ends(batch)):
        self.assertFalse(batch.targets[end:, row].any())
        self.assertFalse(batch.mask[end:, row].any())
      self.assertEqual(ends(batch).max(), steps)

  def test_length_bounds_every_sequence(self, task, longer):
    for some in (task, longer):
      for lessons in self.lessons(some):
        batch = some.sample(generator(), lessons)
        bounds = [some.length(lesson) for lesson in lessons]
        self.assertTrue((ends(batch) <= bounds).all())

  def test_too_short_a_length_is_refused(self, task, longer):
    del longer
    lessons = np.full(BATCH_SIZE, task.num_lessons - 1)
    steps = len(task.sample(generator(), lessons).inputs)
    with self.assertRaisesRegex(
      ValueError, f"length must be at least the {steps} .* got {steps - 1}"
    ):
      task.sample(generator(), lessons, length=steps - 1)

  def test_memory_suffices_for_a_slot_a_step(self, task, longer):
    del longer
    for lesson in range(task.num_lessons):
      memory_size = task.memory_size(lesson)
      if memory_size is not None:
        self.assertGreaterEqual(memory_size, task.length(lesson))

  def test_the_solver_is_all_right(self, task, longer):
    for some in (task, longer):
      # One length, so that the objective is compiled once.
      length = max(map(some.length, range(some.num_lessons)))
      for lessons in self.lessons(some):
        if not some.certain:
          lessons = np.repeat(lessons, 8)  # Of chance, to tell it from luck.
        batch = some.sample(generator(), lessons, length=length)
        heard = batch.inputs.copy()
        logits = some.solve(heard)
        np.testing.assert_array_equal(heard, batch.inputs)
        self.assertEqual(logits.shape, batch.targets.shape)
        loss, right, count = scores(some, batch, logits)
        self.assertGreater(count.min(), 0)
        if some.certain:
          np.testing.assert_array_equal(right, count)
          continue
        # Or, where chance decides, no odds near its own are better.
        others = [logits / 2, 1.5 * logits, logits - 0.5, logits + 0.5]
        for other in (*others, np.zeros_like(logits)):
          self.assertGreater(scores(some, batch, other).loss, 1.01 * loss)

  def test_the_solver_sees_inputs_only(self, task, longer):
    del longer
    self.assertEqual(list(inspect.signature(task.solve).parameters), ["inputs"])
    # Nor does it keep anything between calls.
    a, b = (task.sample(generator(s), np.zeros(2, int)) for s in (0, 1))
    expected = task.solve(a.inputs)
    task.solve(b.inputs)
    np.testing.assert_array_equal(task.solve(a.inputs), expected)

  def test_a_wrong_step_counts_against_its_sequence_alone(self, task, longer):
    del longer
    batch = task.sample(generator(), np.zeros(BATCH_SIZE, int))
    logits = 2 * batch.targets - 1
    step = int(batch.mask[:, 2].argmax())
    logits[step, 2] *= -1
    right, count = scores(task, batch, logits)[1:]
    wrong = task.output_size if task.unit == "bit" else 1
    expected = np.zeros(BATCH_SIZE)
    expected[2] = wrong
    np.testing.assert_array_equal(count - right, expected)

  def test_saying_nothing_is_not_right(self, task, longer):
    for some in (task, longer):
      batch = some.sample(generator(), np.zeros(BATCH_SIZE, int))
      right, count = scores(some, batch, np.zeros_like(batch.targets))[1:]
      self.assertLess(right.sum(), 0.8 * count.sum())

  def test_the_picture_shows_what_the_network_said(self, task, longer):
    del longer
    batch = task.sample(generator(), np.zeros(2, int))
    alone = task.render(batch, index=1)
    right = task.render(batch, task.solve(batch.inputs), index=1)
    wrong = task.render(batch, -task.solve(batch.inputs), index=1)
    other = task.render(batch, task.solve(batch.inputs), index=0)
    self.assertLen({alone, right, wrong, other}, 4)


class RegistryTest(parameterized.TestCase):
  def test_every_task_is_in_the_table_above(self):
    self.assertEqual(
      {task.name for task, _ in TASKS.values()},
      {x for x, y in tasks.TASKS.items() if issubclass(y, SequenceTask)},
    )

  def test_names_are_the_tasks_own(self):
    self.assertEqual(
      list(tasks.TASKS),
      [
        "repeat_copy",
        "copy",
        "associative_recall",
        "key_value_recall",
        "priority_sort",
        "dynamic_n_grams",
        "traversal",
        "shortest_path",
        "inference",
      ],
    )
    for name, task in tasks.TASKS.items():
      self.assertEqual(task.name, name)
      self.assertIs(type(tasks.make(name)), task)

  def test_options(self):
    self.assertEqual(
      tasks.make("repeat_copy", max_length=7, norm_max=2.5, time_average=True),
      RepeatCopy(max_length=7, norm_max=2.5, time_average=True),
    )
    self.assertEqual(tasks.make("repeat_copy", norm_max=3).length(0), 9)
    self.assertEqual(tasks.make("copy", num_bits=3), Copy(num_bits=3))
    for name, lessons in traversal.LESSONS.items():
      self.assertEqual(
        tasks.make("traversal", lessons=name, num_queries=2, small_pools=True),
        Traversal(lessons, num_queries=2, small_pools=True),
      )
    for name, lessons in inference.LESSONS.items():
      self.assertEqual(
        tasks.make("inference", lessons=name, planning_steps=7, table_seed=2),
        Inference(lessons, planning_steps=7, table_seed=2),
      )

    for name, lessons in shortest_path.LESSONS.items():
      self.assertEqual(
        tasks.make("shortest_path", lessons=name, target="even", slack=1),
        ShortestPath(lessons, target="even", slack=1),
      )

  def test_an_unknown_task_is_answered_with_the_list(self):
    with self.assertRaisesRegex(
      ValueError,
      "one of repeat_copy, copy, associative_recall, key_value_recall, "
      "priority_sort, dynamic_n_grams, traversal, shortest_path, inference, "
      "got 'coppy'",
    ):
      tasks.make("coppy")

  @parameterized.named_parameters(
    ("unknown", "copy", {"bits": 3}, r"no option 'bits'; .* num_bits \(int\)"),
    ("field_of_the_class", "copy", {"unit": "x"}, "no option 'unit'"),
    ("text", "copy", {"num_bits": "3"}, "num_bits of copy must be int.*'3'"),
    ("float", "copy", {"num_bits": 3.0}, "must be int, got 3.0"),
    ("bool_for_int", "copy", {"num_bits": True}, "must be int, got True"),
    (
      "int_for_bool",
      "repeat_copy",
      {"time_average": 1},
      r"must be bool, got 1; .* max_length \(int\)",
    ),
    ("bad_value", "copy", {"num_bits": 0}, "at least 1, got 0"),
    (
      "lessons",
      "traversal",
      {"lessons": "village"},
      "must be 'paper' or 'city' .*, got 'village'; .* num_queries",
    ),
    ("lessons_list", "traversal", {"lessons": ["paper"]}, "must be 'paper'"),
  )
  def test_a_wrong_option_is_refused(self, name, options, message):
    with self.assertRaisesRegex(ValueError, message):
      tasks.make(name, **options)


if __name__ == "__main__":
  absltest.main()
