"""The shortest path task: what is told, who moves, and what counts."""

import itertools

import jax
import numpy as np
from absl.testing import absltest, parameterized

from tasks import graphs, routes, shortest_path
from tasks.route_environment import RouteEnvironment
from tasks.shortest_path import ShortestPath
from tasks.traversal import Lesson

SMALL = (Lesson((6, 12), (2, 3), (2, 4)),)


def episodes(task, count=40, lesson=0, seed=0):
  return task.sample(np.random.default_rng(seed), np.full(count, lesson))


def walk(environment, batch, policy):
  """Returns outcomes of all steps, and all that was heard.

  Args:
    environment: Where to walk.
    batch: Episodes.
    policy: From all that was heard so far to logits.
  """
  state, heard, outcomes = environment.start(batch.world), [], []
  hear, act = jax.jit(environment.hear), jax.jit(environment.act)
  for inputs, mask, coins in zip(
    batch.inputs, batch.mask, batch.coins, strict=True
  ):
    heard.append(np.asarray(hear(state, inputs, mask)))
    logits = policy(np.stack(heard)).astype(np.float32)
    state, outcome = act(batch.world, state, logits, mask, coins)
    outcomes.append(outcome)
  return jax.tree.map(lambda *x: np.stack(x), *outcomes), np.stack(heard)


def shortest_of(batch, query=0):
  """Returns the length of the path asked for, ``[B]``."""
  rows = np.arange(len(batch.world.source))
  return batch.world.distance[rows, query, batch.world.source[:, query]]


def silent(heard):
  return np.zeros((heard.shape[1], 90))


def by_chance(seed=0):
  rng = np.random.default_rng(seed)
  return lambda heard: rng.normal(size=(heard.shape[1], 90))


class EpisodesTest(parameterized.TestCase):
  @parameterized.parameters(*shortest_path.LESSONS)
  def test_graphs_and_paths_are_in_range(self, name):
    task = ShortestPath(shortest_path.LESSONS[name])
    for number, lesson in enumerate(task.lessons):
      batch = episodes(task, lesson=number)
      self.assertLessEqual(len(batch.inputs), task.length(number))
      places = batch.world
      shortest = shortest_of(batch)
      self.assertBetween(shortest.min(), *lesson.path_length)
      self.assertBetween(shortest.max(), *lesson.path_length)
      np.testing.assert_array_equal(
        batch.mask.sum(axis=0), shortest + task.extra_steps
      )
      degrees = places.legal.sum(axis=-1)
      nodes = (degrees > 0).sum(axis=-1)
      self.assertBetween(nodes.min(), *lesson.nodes)
      self.assertBetween(nodes.max(), *lesson.nodes)
      self.assertLessEqual(degrees.max(), lesson.out_degree[1])

  def test_the_papers_table(self):
    lessons = shortest_path.PAPER_LESSONS
    self.assertLen(lessons, 15)
    self.assertEqual(
      [lesson.path_length[1] for lesson in lessons],
      [2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5, 5],
    )
    self.assertEqual(
      [lesson.nodes for lesson in lessons],
      [(5, 10), (5, 20)] + [(10, 20)] * 6 + [(10, 25)] * 3
      + [(15, 25)] * 2 + [(20, 25)] * 2,
    )  # fmt: skip
    self.assertEqual(
      [lesson.out_degree for lesson in lessons],
      [(1, 2)] * 4 + [(1, 3)] + [(2, 3)] * 2 + [(2, 4)] * 5
      + [(2, 5)] * 2 + [(2, 6)],
    )  # fmt: skip

  @parameterized.parameters((10, 0.0), (0, 1.0), (3, 0.5))
  def test_what_is_told_when(self, planning_steps, planning_per_edge):
    task = ShortestPath(
      SMALL, planning_steps=planning_steps, planning_per_edge=planning_per_edge
    )
    batch = episodes(task)
    labels = graphs.read_labels(np.asarray(batch.inputs))
    for row in range(40):
      num_edges = int(batch.world.legal[row].sum())
      told = labels[:num_edges, row]
      self.assertTrue((told >= 0).all())
      self.assertLen(set(map(tuple, told.tolist())), num_edges)
      source, edge, goal = labels[num_edges, row].tolist()
      self.assertEqual(edge, -1)
      digits = batch.world.digits[row, batch.world.source[row, 0], 0, :3]
      self.assertEqual(source, digits @ [100, 10, 1])
      self.assertIn(goal, told[:, 2])
      starts = np.flatnonzero(batch.inputs[:, row, 90]).tolist()
      planning = planning_steps + int(np.ceil(planning_per_edge * num_edges))
      self.assertEqual(starts, [num_edges, num_edges + 1 + planning])
      self.assertEqual(np.flatnonzero(batch.mask[:, row])[0], starts[1])
      # Nothing is heard between the query and the answer.
      quiet = batch.inputs[num_edges + 1 : starts[1], row]
      self.assertFalse(quiet.any())
    np.testing.assert_array_equal(batch.inputs[..., 91], batch.mask)

  def test_same_generator_same_episodes(self):
    for a, b in zip(
      *(jax.tree.leaves(episodes(ShortestPath(SMALL))) for _ in range(2)),
      strict=True,
    ):
      np.testing.assert_array_equal(a, b)

  def test_a_length_to_pad_to(self):
    task = ShortestPath(SMALL)
    lessons = np.zeros(5, int)
    batch = task.sample(np.random.default_rng(0), lessons, length=120)
    self.assertLen(batch.inputs, 120)
    with self.assertRaisesRegex(ValueError, "length must be at least"):
      task.sample(np.random.default_rng(0), lessons, length=10)

  def test_what_cannot_be_is_refused(self):
    with self.assertRaisesRegex(ValueError, "lessons must hold"):
      ShortestPath(())
    with self.assertRaisesRegex(ValueError, "worked_rounds must be at least"):
      ShortestPath(SMALL, worked_rounds=0)
    with self.assertRaisesRegex(ValueError, "worked_buckets must be at least"):
      ShortestPath(SMALL, worked_buckets=-1)
    with self.assertRaisesRegex(ValueError, "planning_steps must be at least"):
      ShortestPath(SMALL, planning_steps=-1)
    with self.assertRaisesRegex(ValueError, "planner_fraction must be from 0"):
      ShortestPath(SMALL, planner_fraction=1.5)
    with self.assertRaisesRegex(ValueError, "double_edges must be from 0"):
      ShortestPath(SMALL, double_edges=-0.1)
    with self.assertRaisesRegex(ValueError, "target must be one of"):
      ShortestPath(SMALL, target="some")
    # Three nodes have no path of nine steps.
    with self.assertRaisesRegex(ValueError, r"lesson 1 has .*\[9, 9\] steps"):
      episodes(ShortestPath((Lesson((3, 3), (2, 2), (9, 9)),)))


class MovesTest(parameterized.TestCase):
  def test_the_solver_walks_shortest_paths(self):
    task = ShortestPath(shortest_path.CITY_LESSONS)
    for lesson in (0, len(task.lessons) - 1):
      batch = episodes(task, 15, lesson)
      outcomes, _ = walk(task.test_objective, batch, task.solve)
      scores = task.test_objective.scores(outcomes)
      np.testing.assert_array_equal(scores.right, scores.count)
      shortest = shortest_of(batch)
      np.testing.assert_array_equal(scores.count, shortest)
      summary = task.summary(batch, outcomes)
      np.testing.assert_array_equal(summary["arrived"], 1)
      np.testing.assert_array_equal(summary["excess"], 0)

  @parameterized.parameters(by_chance(), None)
  def test_several_queries_are_as_many_walks(self, policy):
    task = ShortestPath(SMALL, num_queries=3, planning_steps=2)
    batch = episodes(task)
    self.assertEqual(np.unique(batch.mask).tolist(), [0, 1, 2, 3])
    outcomes, heard = walk(task.test_objective, batch, policy or task.solve)
    summary = task.summary(batch, outcomes)
    arrived = []
    for query in range(3):
      own = batch.mask == query + 1
      moving = outcomes.moving & own
      first = moving.argmax(axis=0)
      rows = np.arange(40)
      np.testing.assert_array_equal(first, own.argmax(axis=0))
      np.testing.assert_array_equal(
        outcomes.node[first, rows], batch.world.source[:, query]
      )
      # At the first step nothing of the walk before is heard.
      self.assertFalse(heard[first, rows, :90].any())
      np.testing.assert_array_equal(heard[first, rows, 90:], 1)
      arrived.append((moving & (outcomes.remaining == 0)).any(axis=0))
      if policy is None:
        np.testing.assert_array_equal(
          moving.sum(axis=0), shortest_of(batch, query)
        )
    np.testing.assert_allclose(summary["arrived"], np.mean(arrived, axis=0))
    self.assertEqual(bool(np.all(arrived)), policy is None)

  def test_every_move_is_along_an_edge_and_comes_back(self):
    task = ShortestPath(SMALL, extra_steps=6)
    batch = episodes(task)
    outcomes, heard = walk(task.test_objective, batch, by_chance())
    labels = graphs.read_labels(heard)
    lost = 0
    for row in range(40):
      steps = np.flatnonzero(outcomes.moving[:, row])
      self.assertEqual(steps[0], np.flatnonzero(batch.mask[:, row])[0])
      node = batch.world.source[row, 0]
      for step in steps:
        edge = outcomes.edge[step, row]
        self.assertEqual(outcomes.node[step, row], node)
        self.assertTrue(batch.world.legal[row, node, edge])
        digits = batch.world.digits[row, node, edge].reshape(3, 3)
        node = batch.world.neighbours[row, node, edge]
        left = batch.world.distance[row, 0, node]
        self.assertEqual(outcomes.remaining[step, row], left)
        lost += left >= routes.UNREACHABLE
        if step + 1 < len(heard) and batch.mask[step + 1, row]:
          over = left in (0, routes.UNREACHABLE)
          # Once the walk is over, nothing is heard any more.
          self.assertEqual(heard[step + 1, row].any(), not over)
          if not over:
            self.assertEqual(
              labels[step + 1, row].tolist(), (digits @ [100, 10, 1]).tolist()
            )
      self.assertTrue((np.diff(steps) == 1).all())
    self.assertGreater(lost, 0)

  def test_double_edges_reach_the_graphs(self):
    for double_edges, most in ((0.0, 3), (1.0, 1)):
      # All edges of a node lead to one, so there are no routes of two.
      lessons = (Lesson((6, 12), (2, 3), (1, 1)),)
      world = episodes(ShortestPath(lessons, double_edges=double_edges)).world
      leads_to = [
        len(set(neighbours[legal].tolist()))
        for row, legals in zip(world.neighbours, world.legal, strict=True)
        for neighbours, legal in zip(row, legals, strict=True)
      ]
      self.assertEqual(max(leads_to), most)

  def test_the_planner_makes_all_moves_or_none(self):
    batch = episodes(ShortestPath(SMALL))
    shortest = shortest_of(batch)
    for fraction in (0.0, 1.0):
      environment = RouteEnvironment(planner_fraction=fraction)
      outcomes, _ = walk(environment, batch, by_chance())
      arrived = (outcomes.remaining == 0) & outcomes.moving
      steps = outcomes.moving.sum(axis=0)
      if fraction:
        np.testing.assert_array_equal(arrived.sum(axis=0), 1)
        np.testing.assert_array_equal(steps, shortest)
      else:
        self.assertLess(arrived.sum(), 35)
      # Who moves does not change what the network's own choice is worth.
      right = environment.scores(outcomes).right
      self.assertLess(int(right.sum()), int(steps.sum()))

  def test_coins_decide_move_by_move(self):
    batch = episodes(ShortestPath(SMALL), 400)
    outcomes, _ = walk(
      RouteEnvironment(planner_fraction=0.5), batch, by_chance()
    )
    wrong = (outcomes.excess > 0) & outcomes.moving
    helped = batch.coins < 0.5
    there = batch.world.distance[np.arange(400), 0, outcomes.node]
    onward = outcomes.remaining == there - 1
    self.assertTrue(onward[wrong & helped].all())
    self.assertFalse(onward[wrong & ~helped].any())
    self.assertGreater((wrong & helped).sum(), 50)

  def test_no_moves_count_beyond_the_walk(self):
    batch = episodes(ShortestPath(SMALL))
    outcomes, _ = walk(RouteEnvironment(), batch, by_chance())
    self.assertFalse(outcomes.loss[~outcomes.moving].any())
    scores = RouteEnvironment().scores(outcomes)
    np.testing.assert_array_equal(scores.count, outcomes.moving.sum(axis=0))

  @parameterized.parameters("all", "one", "even")
  def test_losses(self, target):
    batch = episodes(ShortestPath(SMALL))
    logits = np.random.default_rng(5).normal(size=(40, 90))
    environment = RouteEnvironment(target=target)
    outcomes, _ = walk(environment, batch, lambda _: logits)
    places = batch.world
    for step, row in zip(*np.nonzero(outcomes.moving), strict=True):
      node = outcomes.node[step, row]
      legal = places.legal[row, node]
      scores = [
        sum(logits[row].reshape(9, 10)[d, v] for d, v in enumerate(triple))
        for triple in places.digits[row, node][legal]
      ]
      chances = np.exp(scores) / np.exp(scores).sum()
      left = places.distance[row, 0, places.neighbours[row, node][legal]]
      best = chances[left == left.min()]
      expected = {
        "all": -np.log(best.sum()),
        "one": -np.log(best[0]),
        "even": -np.log(best).mean(),
      }[target]
      np.testing.assert_allclose(
        outcomes.loss[step, row], expected, rtol=1e-4, atol=1e-5
      )

  def test_excess_and_slack(self):
    # 0 - 1 - 2 in a line, both ways; 0 also leads to 3, and that to 1.
    leads = [[1, 3], [0, 2], [1], [1]]
    neighbours = np.array([[x + [0] * (2 - len(x)) for x in leads]])
    drawn = graphs.Graphs(
      node_labels=np.array([[0, 111, 222, 333]]),
      neighbours=neighbours,
      edge_labels=np.array([[[1, 3], [0, 2], [1, 0], [1, 0]]]),
      degrees=np.array([[2, 2, 1, 1]]),
    )
    task = ShortestPath(planning_steps=0)
    between = routes.distances(drawn)
    batch = task.encode(
      np.random.default_rng(0), drawn, between, np.array([[[0, 2]]])
    )
    # By 3, by edge label 003, is one step longer.
    wanted = [(0, 3, 333), (333, 1, 111), (111, 2, 222)]
    moves = iter(wanted)

    def detour(heard):
      if not heard[-1, 0, 91]:
        return silent(heard)
      return graphs.one_hots(np.array([next(moves)]))

    outcomes, heard = walk(RouteEnvironment(), batch, detour)
    steps = outcomes.moving[:, 0]
    self.assertEqual(outcomes.excess[steps, 0].tolist(), [1, 0, 0])
    self.assertEqual(outcomes.remaining[steps, 0].tolist(), [2, 1, 0])
    exact = RouteEnvironment().scores(outcomes)
    self.assertEqual((int(exact.right[0]), int(exact.count[0])), (2, 3))
    loose = RouteEnvironment(slack=1).scores(outcomes)
    self.assertEqual((int(loose.right[0]), int(loose.count[0])), (3, 3))
    self.assertEqual(task.summary(batch, outcomes)["excess"].tolist(), [1])
    told = graphs.read_labels(heard[:, 0]).tolist()
    self.assertEqual(told[6], [0, -1, 222])
    self.assertEqual([tuple(x) for x in told[8:10]], wanted[:2])
    self.assertEqual(
      task.render(batch, outcomes),
      "Graph of 6 edges\n"
      "  from 000 to 222, 2 steps\n"
      "    move (000,003,333)  2 to go  1 too long\n"
      "    move (333,001,111)  1 to go\n"
      "    move (111,002,222)  there",
    )


class LessonsTest(parameterized.TestCase):
  @parameterized.parameters(*shortest_path.LESSONS)
  def test_lessons_never_get_easier(self, name):
    for earlier, later in itertools.pairwise(shortest_path.LESSONS[name]):
      for a, b in zip(earlier, later, strict=True):
        self.assertLessEqual(a[1], b[1])
        # With worked answers routes of one step come after those of two.
        if name != "worked" or a is not earlier.path_length:
          self.assertLessEqual(a[0], b[0])


if __name__ == "__main__":
  absltest.main()
