"""Tests of inference."""

import itertools

import numpy as np
from absl.testing import absltest, parameterized

import tasks
from tasks import families, graphs, inference, relations
from tasks.inference import Inference, Lesson

BLANK = [-1, -1, -1]
SMALL = Lesson((4, 6), (2, 4), (1, 5))

# The graph of the module's picture: 701 -3-> 554 -4-> 120.
TINY = graphs.Graphs(
  node_labels=np.array([[701, 554, 120]]),
  neighbours=np.array([[[1], [2], [0]]]),
  edge_labels=np.array([[[3], [4], [0]]]),
  degrees=np.array([[1, 1, 0]]),
)


def labels_of(array):
  """Returns what `graphs.read_labels` reads in a batch's array."""
  return graphs.read_labels(np.asarray(array))


def on(array, channel):
  """Returns the steps at which a channel of the first sequence is on."""
  return np.flatnonzero(array[:, 0, channel]).tolist()


def encode(queries, planning_steps, **options):
  return inference.encode(
    np.random.default_rng(0),
    TINY,
    np.array(queries),
    planning_steps=planning_steps,
    **options,
  )


def draw(lesson, size=64, seed=0, **options):
  task = Inference((lesson,), **options)
  return task.sample(np.random.default_rng(seed), np.zeros(size, int))


def heard_and_asked(batch, row):
  """Returns a sequence's graph, triple by triple, and its right answers."""
  heard = labels_of(batch.inputs[:, row])
  answers = labels_of(batch.targets[:, row])[batch.mask[:, row] > 0]
  return heard[heard[:, 2] >= 0], answers


def relations_asked(batch):
  answers = labels_of(batch.targets)[batch.inputs[..., 91] > 0]
  return answers[:, 1]


class DrawnByHandTest(parameterized.TestCase):
  def test_one_question(self):
    batch = encode([[[701, 17, 120]]], planning_steps=10)
    self.assertEqual(batch.inputs.shape, (14, 1, 92))
    heard = labels_of(batch.inputs)[:, 0].tolist()
    self.assertCountEqual(heard[:2], [[701, 3, 554], [554, 4, 120]])
    self.assertEqual(heard[2:], [[701, 17, -1]] + [BLANK] * 11)
    said = labels_of(batch.targets)[:, 0].tolist()
    self.assertEqual(said, [BLANK] * 13 + [[701, 17, 120]])
    self.assertEqual(on(batch.inputs, graphs.PHASE_CHANNEL), [2, 13])
    self.assertEqual(on(batch.inputs, graphs.ANSWER_CHANNEL), [13])
    self.assertEqual(np.flatnonzero(batch.mask).tolist(), [13])

  def test_several_questions(self):
    batch = encode(
      [[[701, 17, 120], [554, 4, 120], [701, 3, 554]]], 1, length=13
    )
    self.assertEqual(
      on(batch.inputs, graphs.PHASE_CHANNEL), [2, 4, 5, 7, 8, 10]
    )
    self.assertEqual(on(batch.inputs, graphs.ANSWER_CHANNEL), [4, 7, 10])
    self.assertEqual(np.flatnonzero(batch.mask).tolist(), [4, 7, 10])
    heard = labels_of(batch.inputs)[:, 0]
    said = labels_of(batch.targets)[:, 0]
    self.assertEqual(
      heard[[2, 5, 8]][:, :2].tolist(), said[[4, 7, 10]][:, :2].tolist()
    )
    self.assertFalse(batch.inputs[11:].any())

  def test_worked_answers(self):
    ways = np.full((1, 1, 5, 3), -1)
    ways[0, 0, :2] = [[701, 3, 554], [554, 4, 120]]
    plain = encode([[[701, 17, 120]]], 3)
    batch = encode([[[701, 17, 120]]], 3, ways=ways)
    np.testing.assert_array_equal(batch.inputs, plain.inputs)
    self.assertEqual(np.flatnonzero(batch.mask).tolist(), [3, 4, 6])
    said = labels_of(batch.targets)[:, 0].tolist()
    self.assertEqual(
      said[3:], [[701, 3, 554], [554, 4, 120], BLANK, [701, 17, 120]]
    )

  def test_too_short_a_length_is_refused(self):
    encode([[[701, 17, 120]]], 10, length=14)
    with self.assertRaisesRegex(
      ValueError, "at least the 14 steps of the longest sequence, got 13"
    ):
      encode([[[701, 17, 120]]], 10, length=13)

  def test_picture(self):
    table = relations.table(0)
    relation = 17
    first, second = table[relation, :2]
    drawn = TINY._replace(edge_labels=np.array([[[first], [second], [0]]]))
    batch = inference.encode(
      np.random.default_rng(1),
      drawn,
      np.array([[[701, relation, 120]]]),
      planning_steps=2,
    )
    task = Inference(planning_steps=2)
    right = task.solve(np.asarray(batch.inputs))
    wrong = right.copy()
    wrong[-1, 0, 60:70] = np.eye(10)[9]
    told = [graphs.in_words(x) for x in labels_of(batch.inputs)[:2, 0]]
    start = (
      f"Graph of 2 edges: {told[0]} {told[1]}\n"
      f"  query  (701,017,___), edges {first} {second}\n"
      "  answer (701,017,120)"
    )
    self.assertEqual(task.render(batch), start)
    self.assertEqual(
      task.render(batch, right), f"{start}  network (701,017,120)"
    )
    self.assertEqual(
      task.render(batch, wrong), f"{start}  network (701,017,920)  wrong"
    )


class LessonsTest(parameterized.TestCase):
  def test_the_papers_table(self):
    lessons = inference.PAPER_LESSONS
    self.assertLen(lessons, 17)
    # Columns of Extended Data Table 4, read downwards.
    self.assertEqual(
      [lesson.nodes for lesson in lessons],
      [(3, 3), (3, 5), (4, 6), (4, 6), (6, 12), (12, 18)]
      + 1 * [(4, 6), (6, 12), (12, 18), (4, 6)]
      + 2 * [(4, 6), (6, 12), (12, 18)]
      + [(20, 25)],
    )
    self.assertEqual(
      [lesson.relation_length[1] for lesson in lessons],
      [2] * 6 + [3] * 3 + [4] * 4 + [5] * 4,
    )
    self.assertEqual(
      [lesson.out_degree for lesson in lessons], [(2, 2)] * 2 + [(2, 4)] * 15
    )
    self.assertEqual({lesson.relation_length[0] for lesson in lessons}, {2})
    self.assertEqual({lesson.num_relations for lesson in lessons}, {100})
    task = Inference()
    self.assertEqual((task.num_queries, task.planning_steps), (3, 10))
    self.assertEqual(task.lessons, lessons)

  @parameterized.parameters(*inference.LESSONS)
  def test_lessons_end_with_the_papers_last(self, name):
    self.assertEqual(inference.LESSONS[name][-1], inference.PAPER_LESSONS[-1])

  @parameterized.parameters(*inference.LESSONS)
  def test_graphs_and_questions_are_in_range(self, name):
    task = tasks.make("inference", lessons=name)
    for number, lesson in enumerate(inference.LESSONS[name]):
      batch = task.sample(np.random.default_rng(0), np.full(30, number))
      for row in range(30):
        told, answers = heard_and_asked(batch, row)
        sources, degrees = np.unique(told[:, 0], return_counts=True)
        self.assertBetween(len(sources), *lesson.nodes)
        self.assertContainsSubset(told[:, 2].tolist(), sources.tolist())
        most = len(sources) - 1
        self.assertGreaterEqual(degrees.min(), min(lesson.out_degree[0], most))
        self.assertLessEqual(degrees.max(), min(lesson.out_degree[1], most))
        self.assertBetween(told[:, 1].min(), 0, 9)
        self.assertBetween(told[:, 1].max(), 0, 9)
        # A label names one neighbour.
        self.assertLen(np.unique(told[:, :2], axis=0), len(told))
        self.assertLen(answers, 3)
        for start, relation, end in answers:
          self.assertContainsSubset([start, end], sources.tolist())
          length = (relations.table(0)[relation] >= 0).sum()
          self.assertBetween(length, *lesson.relation_length)
          first = relations.first_label(length)
          self.assertLess(relation - first, lesson.num_relations)

  def test_a_sequence_is_of_its_own_lesson(self):
    task = Inference(
      (Lesson((3, 3), (2, 2), (1, 1)), Lesson((20, 20), (4, 4), (5, 5)))
    )
    batch = task.sample(np.random.default_rng(0), np.array([1, 0, 0, 1]))
    for row, edges in enumerate((80, 6, 6, 80)):
      told, answers = heard_and_asked(batch, row)
      self.assertLen(told, edges)
      self.assertEqual((answers[:, 1] >= 310).all(), edges == 80)
      self.assertEqual((answers[:, 1] < 10).all(), edges == 6)

  def test_length_is_what_the_longest_takes(self):
    task = Inference((Lesson((3, 3), (2, 5), (2, 2)),), num_queries=2)
    # Degrees are 2 here, whatever is drawn: 3 × 2 + 2 × (1 + 10 + 1).
    self.assertEqual(task.length(0), 30)
    self.assertEqual(task.memory_size(0), 32)
    batch = task.sample(np.random.default_rng(0), np.zeros(3, int))
    self.assertLen(batch.inputs, 30)


class QuestionsTest(parameterized.TestCase):
  def test_relations_come_about_equally_often(self):
    asked = relations_asked(draw(Lesson((20, 25), (2, 4), (2, 5)), 4000))
    counts = np.bincount(asked, minlength=410)
    self.assertEqual(counts[:10].sum(), 0)
    # 30 of each are expected.
    self.assertBetween(counts[10:].min(), 8, 30)
    self.assertBetween(counts[10:].max(), 30, 60)

  def test_long_relations_of_small_graphs_too(self):
    asked = relations_asked(draw(Lesson((3, 3), (2, 2), (2, 5)), 500))
    lengths = (relations.table(0)[asked] >= 0).sum(axis=1)
    counts = np.bincount(lengths, minlength=6)
    self.assertEqual(counts[:2].tolist(), [0, 0])
    self.assertGreater(counts[5], 100)

  @parameterized.parameters(1, 2, 5)
  def test_few_relations(self, length):
    few = Lesson((4, 6), (2, 4), (length, length), 3)
    asked = relations_asked(draw(few, 100))
    first = relations.first_label(length)
    self.assertEqual(set(asked.tolist()), set(range(first, first + 3)))

  def test_questions_of_a_sequence_mostly_differ(self):
    batch = draw(SMALL, 200)
    same = 0
    for row in range(200):
      answers = heard_and_asked(batch, row)[1].tolist()
      same += sum(a == b for a, b in itertools.combinations(answers, 2))
    self.assertLess(same, 20)

  def test_every_node_is_started_from(self):
    batch = draw(Lesson((3, 3), (2, 2), (2, 2)), 300, num_queries=1)
    places = []
    for row in range(300):
      told, answers = heard_and_asked(batch, row)
      places.append(sorted(set(told[:, 0])).index(answers[0, 0]))
    self.assertGreater(np.bincount(places).min(), 60)

  def test_other_labels_are_drawn_evenly(self):
    # Of two edges from a node at most one is asked for by its one question.
    batch = draw(Lesson((25, 25), (4, 4), (1, 1)), 100, num_queries=1)
    told = labels_of(batch.inputs)
    edges = told[..., 1][told[..., 2] >= 0]
    counts = np.bincount(edges, minlength=10)
    np.testing.assert_allclose(counts, 1000, rtol=0.15)

  def test_another_table_asks_for_other_edges(self):
    batch = draw(SMALL, 20, table_seed=3)
    right = Inference((SMALL,), table_seed=3).solve(np.asarray(batch.inputs))
    said, expected = labels_of(right), labels_of(batch.targets)
    scored = batch.mask > 0
    np.testing.assert_array_equal(said[scored], expected[scored])
    try:
      other = labels_of(
        Inference((SMALL,), table_seed=0).solve(np.asarray(batch.inputs))
      )
    except KeyError:
      return  # Its relations lead along edges that are not there.
    self.assertFalse((other[scored] == expected[scored]).all())

  def test_worked_answers_say_the_way(self):
    lesson = Lesson((4, 6), (2, 4), (3, 3))
    plain = draw(lesson, 20)
    batch = draw(lesson, 20, worked=True)
    np.testing.assert_array_equal(batch.inputs, plain.inputs)
    for row in range(20):
      told, answers = heard_and_asked(batch, row)
      self.assertLen(answers, 12)
      for *way, answer in answers.reshape(3, 4, 3).tolist():
        for triple in way:
          self.assertIn(triple, told.tolist())
        nodes = [triple[0] for triple in way] + [way[-1][2]]
        self.assertEqual([triple[2] for triple in way], nodes[1:])
        self.assertEqual(answer[::2], [nodes[0], nodes[-1]])
        edges = relations.table(0)[answer[1], :3].tolist()
        self.assertEqual([triple[1] for triple in way], edges)


class FamilyTest(parameterized.TestCase):
  def test_the_tree_is_told_and_asked_about(self):
    walks = families.TREE.walks(4)
    table = relations.labels_by_sequence(0)
    people = graphs.distinct_labels(np.random.default_rng(0), 25, len(walks))
    queries = np.array(
      [
        [[row[walk.people[0]], table[walk.labels], row[walk.people[-1]]]]
        for row, walk in zip(people, walks)
      ]
    )
    drawn = graphs.labelled(
      families.TREE.edges, people, np.tile(np.arange(10), (len(walks), 1))
    )
    batch = inference.encode(
      np.random.default_rng(0), drawn, queries, planning_steps=10
    )
    self.assertLen(batch.inputs, 54 + 12)
    said = labels_of(Inference().solve(np.asarray(batch.inputs)))[-1]
    np.testing.assert_array_equal(said, queries[:, 0])


class RefusalTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("none", {"lessons": ()}, "at least one lesson"),
    (
      "nodes",
      {"lessons": (Lesson((2, 5), (2, 4), (1, 1)),)},
      "at least 3 nodes",
    ),
    ("degree", {"lessons": (Lesson((3, 5), (1, 4), (1, 1)),)}, "2 edges from"),
    (
      "labels",
      {"lessons": (Lesson((3, 5), (2, 11), (1, 1)),)},
      "out_degree must be at most 10, one label each, got 11",
    ),
    (
      "length",
      {"lessons": (Lesson((3, 5), (2, 4), (1, 6)),)},
      r"relation_length must be within 1 to 5, got \(1, 6\)",
    ),
    (
      "relations",
      {"lessons": (Lesson((3, 5), (2, 4), (1, 5), 101),)},
      "num_relations must be from 1 to 100, got 101",
    ),
    ("queries", {"num_queries": 0}, "num_queries must be at least 1, got 0"),
    ("planning", {"planning_steps": -1}, "planning_steps must be .* 0, got -1"),
    ("seed", {"table_seed": -1}, "table_seed must be at least 0, got -1"),
    (
      "worked",
      {"worked": True, "planning_steps": 4},
      "planning_steps must be at least 5, .* got 4",
    ),
  )
  def test_refuses(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      Inference(**options)


if __name__ == "__main__":
  absltest.main()
