"""Tests of graph traversal."""

import itertools

import numpy as np
from absl.testing import absltest, parameterized

from tasks import graphs, traversal, underground
from tasks.traversal import Lesson, Traversal

TRIPLES = slice(0, 90)
BLANK = [-1, -1, -1]

# The graph of the module's picture: 701 -12-> 554 -98-> 701.
TINY = graphs.Graphs(
  node_labels=np.array([[701, 554]]),
  neighbours=np.array([[[1], [0]]]),
  edge_labels=np.array([[[12], [98]]]),
  degrees=np.array([[1, 1]]),
)
THERE, BACK = [701, 12, 554], [554, 98, 701]


def labels_of(array):
  """Returns what `graphs.read_labels` reads in a batch's array."""
  return graphs.read_labels(np.asarray(array))


def on(array, channel):
  """Returns the steps at which a channel of the first sequence is on."""
  np.testing.assert_array_equal(array[..., channel] % 1, 0)
  return np.flatnonzero(array[:, 0, channel]).tolist()


def encode(drawn, path_lengths, seed=0, **options):
  return traversal.encode(
    np.random.default_rng(seed), drawn, np.array(path_lengths), **options
  )


def num_right(task, batch):
  """Returns scored triples that the solver has right, and all scored."""
  said = labels_of(task.solve(np.asarray(batch.inputs)))
  right = (said == labels_of(batch.targets)).all(axis=-1)
  return int((right & (batch.mask > 0)).sum()), int(batch.mask.sum())


def parts(batch, row):
  """Returns the lengths of a sequence's telling, asking and answering."""
  heard = labels_of(batch.inputs[:, row])
  whole = int((heard[:, 2] >= 0).sum())
  asked = int((heard[:, 1] >= 0).sum()) - whole
  return whole, asked, int(batch.mask[:, row].sum())


class DrawnByHandTest(parameterized.TestCase):
  def test_one_walk(self):
    expected = []
    for told in ([THERE, BACK], [BACK, THERE]):
      for first, second in ([THERE, BACK], [BACK, THERE]):
        asked = [[first[0], first[1], -1], [-1, second[1], -1]]
        expected.append((told + asked + [BLANK] * 2, [first, second]))
    seen = []
    for seed in range(60):
      batch = encode(TINY, [[2]], seed)
      self.assertEqual(batch.inputs.shape, (6, 1, 92))
      self.assertEqual(on(batch.inputs, graphs.PHASE_CHANNEL), [2, 4])
      self.assertEqual(on(batch.inputs, graphs.ANSWER_CHANNEL), [4, 5])
      self.assertEqual(batch.mask[:, 0].tolist(), [0, 0, 0, 0, 1, 1])
      heard = labels_of(batch.inputs)[:, 0].tolist()
      targets = labels_of(batch.targets)[:, 0].tolist()
      self.assertEqual(targets[:4], [BLANK] * 4)
      seen.append(expected.index((heard, targets[4:])))
    # Each order of telling and each start, about equally often.
    self.assertGreater(np.bincount(seen, minlength=4).min(), 5)

  def test_channels(self):
    self.assertEqual((graphs.PHASE_CHANNEL, graphs.ANSWER_CHANNEL), (90, 91))
    self.assertEqual(
      (Traversal().input_size, Traversal().output_size), (92, 90)
    )

  def test_three_walks_of_different_lengths(self):
    batch = encode(TINY, [[1, 3, 2]], length=17)
    #                told  ask  answer
    # query 0        0 1   2    3
    # query 1              4-6  7-9
    # query 2              10-1 12-13
    self.assertEqual(on(batch.inputs, 90), [2, 3, 4, 7, 10, 12])
    self.assertEqual(on(batch.inputs, 91), [3, 7, 8, 9, 12, 13])
    self.assertEqual(
      np.flatnonzero(batch.mask[:, 0]).tolist(), [3, 7, 8, 9, 12, 13]
    )
    heard = labels_of(batch.inputs)[:, 0]
    said = labels_of(batch.targets)[:, 0]
    np.testing.assert_array_equal(
      np.flatnonzero((heard >= 0).any(axis=1)), [0, 1, 2, 4, 5, 6, 10, 11]
    )
    for ask, answer in ((2, 3), (4, 7), (10, 12)):
      self.assertEqual(heard[ask, 0], said[answer, 0])
    for ask in (5, 6, 11):
      self.assertEqual(heard[ask, 0], -1)
    for ask, answer in ((2, 3), (4, 7), (5, 8), (6, 9), (10, 12), (11, 13)):
      self.assertEqual(heard[ask, 1], said[answer, 1])
      self.assertEqual(heard[ask, 2], -1)
    for a, b in ((7, 8), (8, 9), (12, 13)):
      self.assertEqual(said[a, 2], said[b, 0])

  def test_picture(self):
    batch = encode(TINY, [[2]], length=8)
    task = Traversal()
    right = task.solve(np.asarray(batch.inputs))
    wrong = right.copy()
    wrong[5, 0, 60:70] = np.eye(10)[9]
    told, asked, said = (
      labels_of(array)[steps, 0].tolist()
      for array, steps in (
        (batch.inputs, slice(0, 2)),
        (batch.inputs, slice(2, 4)),
        (batch.targets, slice(4, 6)),
      )
    )
    (a, b), (c, d), (e, f) = (
      [
        "(" + ",".join(f"{x:03d}" if x >= 0 else "___" for x in t) + ")"
        for t in x
      ]
      for x in (told, asked, said)
    )
    start = f"Graph of 2 edges: {a} {b}\n  query  {c}\n  query  {d}\n"
    self.assertEqual(task.render(batch), f"{start}  answer {e}\n  answer {f}")
    self.assertEqual(
      task.render(batch, right),
      f"{start}  answer {e}  network {e}\n  answer {f}  network {f}",
    )
    given = f[:-4] + "9" + f[-3:]
    self.assertEqual(
      task.render(batch, wrong),
      f"{start}  answer {e}  network {e}\n  answer {f}  network {given}  wrong",
    )


class LessonsTest(parameterized.TestCase):
  def test_the_papers_table(self):
    lessons = traversal.PAPER_LESSONS
    self.assertLen(lessons, 14)
    self.assertEqual(lessons[0], ((3, 10), (2, 4), (1, 1)))
    self.assertEqual(lessons[-1], ((10, 40), (2, 6), (1, 20)))
    # Columns of Extended Data Table 3, read downwards.
    self.assertEqual(
      [lesson.path_length[1] for lesson in lessons],
      [1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9, 10, 20],
    )
    self.assertEqual(
      [lesson.nodes[1] for lesson in lessons],
      [10] * 4 + [15] * 2 + [20] * 2 + [30] * 4 + [40] * 2,
    )

  @parameterized.parameters(*traversal.LESSONS)
  def test_lessons_never_get_easier(self, name):
    lessons = traversal.LESSONS[name]
    for earlier, later in itertools.pairwise(lessons):
      for a, b in zip(earlier, later, strict=True):
        self.assertLessEqual(a[1], b[1])
        self.assertLessEqual(b[0], b[1])

  @parameterized.parameters(*traversal.LESSONS)
  def test_graphs_and_walks_are_in_range(self, name):
    lessons = traversal.LESSONS[name]
    task = Traversal(lessons, num_queries=2)
    for number, lesson in enumerate(lessons):
      batch = task.sample(np.random.default_rng(0), np.full(40, number))
      for row in range(40):
        whole, asked, answered = parts(batch, row)
        heard = labels_of(batch.inputs[:whole, row])
        sources, degrees = np.unique(heard[:, 0], return_counts=True)
        self.assertBetween(len(sources), *lesson.nodes)
        self.assertContainsSubset(heard[:, 2].tolist(), sources.tolist())
        most = len(sources) - 1
        self.assertGreaterEqual(degrees.min(), min(lesson.out_degree[0], most))
        self.assertLessEqual(degrees.max(), min(lesson.out_degree[1], most))
        self.assertEqual(asked, answered)
        starts = np.flatnonzero(batch.inputs[:, row, 90])
        self.assertLen(starts, 4)
        lengths = np.diff(starts)[::2].tolist()
        self.assertEqual(sum(lengths), answered)
        for length in lengths:
          self.assertBetween(length, *lesson.path_length)

  def test_every_path_length_occurs(self):
    lesson = Lesson((3, 4), (1, 2), (2, 6))
    batch = Traversal((lesson,)).sample(
      np.random.default_rng(0), np.zeros(1000, int)
    )
    counts = np.bincount(batch.mask.sum(axis=0).astype(int), minlength=7)
    self.assertEqual(counts[:2].tolist(), [0, 0])
    np.testing.assert_allclose(counts[2:], 200, rtol=0.25)

  def test_a_sequence_is_of_its_own_lesson(self):
    task = Traversal(
      (
        Lesson((3, 3), (2, 2), (1, 1)),
        Lesson((20, 20), (4, 4), (9, 9)),
        Lesson((6, 6), (1, 1), (3, 3)),
      )
    )
    lessons = np.array([1, 0, 2, 0, 1])
    batch = task.sample(np.random.default_rng(0), lessons)
    self.assertLen(batch.inputs, task.length(1))
    expected = {0: (6, 1, 1), 1: (80, 9, 9), 2: (6, 3, 3)}
    for row, lesson in enumerate(lessons):
      self.assertEqual(parts(batch, row), expected[lesson])
      # The sequence is as short as it is alone.
      self.assertFalse(batch.inputs[task.length(lesson) :, row].any())

  def test_length_is_what_the_longest_takes(self):
    task = Traversal((Lesson((3, 3), (2, 5), (4, 4)),), num_queries=2)
    # Degrees are 2 here, whatever is drawn: 3 × 2 + 2 × 2 × 4.
    self.assertEqual(task.length(0), 22)
    self.assertEqual(task.memory_size(0), 24)
    batch = task.sample(np.random.default_rng(0), np.zeros(3, int))
    self.assertLen(batch.inputs, 22)

  def test_small_pools_reach_the_graphs(self):
    labels = []
    for small_pools in (False, True):
      task = Traversal(
        (Lesson((30, 30), (6, 6), (1, 1)),), small_pools=small_pools
      )
      batch = task.sample(np.random.default_rng(0), np.zeros(20, int))
      heard = labels_of(batch.inputs)[:180, :, 1]
      labels.append([len(np.unique(row)) for row in heard.T])
    self.assertGreater(np.mean(labels[0]), 29)
    self.assertLess(np.mean(labels[1]), 24)


class EncodeTest(parameterized.TestCase):
  def test_walks_longer_than_any_lessons(self):
    drawn = graphs.random_graphs(
      np.random.default_rng(0),
      np.tile([20, 60], (6, 1)),
      np.tile([1, 8], (6, 1)),
    )
    batch = encode(drawn, np.arange(50, 56)[:, None])
    self.assertEqual(batch.mask.sum(axis=0).tolist(), list(range(50, 56)))
    self.assertEqual(num_right(Traversal(), batch), (315, 315))

  @parameterized.parameters(*underground.MAPS)
  def test_the_underground(self, name):
    edges = underground.load(name).edges
    drawn = graphs.labelled_copies(np.random.default_rng(0), edges, 3)
    batch = encode(drawn, [[7, 1], [2, 30], [12, 12]])
    self.assertEqual(parts(batch, 1), (len(edges), 32, 32))
    self.assertEqual(num_right(Traversal(), batch), (64, 64))

  def test_a_wrong_graph_is_answered_otherwise(self):
    """The solver does look the answers up."""
    batch = encode(TINY, [[2]])
    batch.inputs[:2, :, TRIPLES] = graphs.one_hots(
      np.array([[[701, 12, 701]], [[701, 98, 554]]])
    )
    batch.inputs[2, :, TRIPLES] = graphs.one_hots(np.array([[701, 12, -1]]))
    batch.inputs[3, :, TRIPLES] = graphs.one_hots(np.array([[-1, 98, -1]]))
    said = labels_of(Traversal().solve(np.asarray(batch.inputs)))[4:, 0]
    self.assertEqual(said.tolist(), [[701, 12, 701], [701, 98, 554]])

  def test_too_short_a_length_is_refused(self):
    encode(TINY, [[2]], length=6)
    with self.assertRaisesRegex(
      ValueError, "at least the 6 steps of the longest sequence, got 5"
    ):
      encode(TINY, [[2]], length=5)

  def test_walks_of_ones_own_are_asked_for(self):
    there = np.array([[[701, 12, 554], [554, 98, 701]]])
    batch = traversal.encode(
      np.random.default_rng(0), TINY, np.array([[2]]), walks=[there]
    )
    said = labels_of(batch.targets)[np.asarray(batch.mask)[:, 0] > 0, 0]
    np.testing.assert_array_equal(said, there[0])

  def test_a_task_without_lessons_or_walks_is_refused(self):
    with self.assertRaisesRegex(ValueError, "num_queries must be at least 1"):
      Traversal(num_queries=0)
    with self.assertRaisesRegex(ValueError, "at least one lesson"):
      Traversal(())


if __name__ == "__main__":
  absltest.main()
