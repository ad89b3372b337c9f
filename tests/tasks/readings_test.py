"""Several readings of one graph that decide together where to go."""

import dataclasses
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax import training
from dnc_jax.interaction import Episodes
from scripts import ask_route, measure, saved
from tasks import underground
from tasks.route_environment import RouteEnvironment
from tasks.shortest_path import ShortestPath
from tests.tasks.shortest_path_test import by_chance, walk

TASK = ShortestPath(extra_steps=2, planning_steps=1)
# A ring of five, each joined to the next and the one after, by two labels.
EDGES = np.array(
  [(node, step, (node + 1 + step) % 5) for node in range(5) for step in (0, 1)]
)
PAIRS = np.array([(0, 3), (1, 2), (4, 3)])


def told(readings, count=3, seed=0):
  sample = measure.route_sampler(TASK, EDGES, PAIRS, readings)
  batch = sample(np.random.default_rng(seed), 0, count)
  assert isinstance(batch, Episodes)
  return batch


def noisy(how_loud, seed=0):
  """Returns a policy that is right but for noise, other in each row."""
  noise = by_chance(seed)
  return lambda heard: 3 * TASK.solve(heard) + how_loud * noise(heard)


class ReadingsTest(parameterized.TestCase):
  def test_each_pair_is_told_so_often_and_otherwise_each_time(self):
    batch = told(4)
    np.testing.assert_array_equal(
      np.asarray(batch.world.source)[:, 0], np.repeat([0, 1, 4], 4)
    )
    labels = {row.tobytes() for row in np.asarray(batch.world.digits)}
    self.assertLen(labels, 12)
    same = np.asarray(batch.world.neighbours)
    np.testing.assert_array_equal(same, np.broadcast_to(same[:1], same.shape))

  def test_they_go_where_the_mean_of_their_chances_is_largest(self):
    batch = told(4)
    outcomes, _ = walk(RouteEnvironment(readings=4), batch, noisy(4.0))
    alone = []

    class Alone(RouteEnvironment):
      """Goes where all went, and notes what each reading alone thought."""

      def _together(self, scores):
        jax.debug.callback(alone.append, jax.nn.softmax(scores), ordered=True)
        return super()._together(scores)

    again, _ = walk(Alone(readings=4), batch, noisy(4.0))
    jax.effects_barrier()
    self.assertLen(alone, len(batch.mask))
    np.testing.assert_array_equal(again.edge, outcomes.edge)
    moved = 0
    for step, chances in enumerate(alone):
      mean = np.reshape(chances, (3, 4, -1)).mean(axis=1)
      edge = outcomes.edge[step].reshape(3, 4)
      chance = outcomes.chance[step].reshape(3, 4)
      for pair in np.flatnonzero(outcomes.moving[step, ::4]):
        moved += 1
        np.testing.assert_array_equal(edge[pair], mean[pair].argmax())
        np.testing.assert_allclose(chance[pair], mean[pair].max(), rtol=1e-5)
    self.assertGreaterEqual(moved, 5)
    # Alone, some would have gone elsewhere.
    single, _ = walk(RouteEnvironment(), batch, noisy(4.0))
    self.assertFalse((single.edge == outcomes.edge).all())

  def test_they_stay_together(self):
    batch = told(4)
    outcomes, _ = walk(RouteEnvironment(readings=4), batch, by_chance())
    for leaf in (outcomes.node, outcomes.edge, outcomes.moving, outcomes.loss):
      each = leaf.reshape(len(leaf), 3, 4)
      np.testing.assert_array_equal(each, np.repeat(each[..., :1], 4, axis=-1))

  def test_a_route_is_asked_for_so_often(self):
    class AskedError(Exception):
      """Ends the test before anything is compiled."""

    def make_evaluate(model, goal):
      del model

      def evaluate(params, episodes, memory_size):
        del params, memory_size
        raise AskedError(
          goal.readings, len(np.unique(episodes.world.digits, axis=0))
        )

      return evaluate

    config, params, _ = saved.restore_params(
      saved.pretrained_folder("shortest_path")
    )
    place = underground.load("interchanges")
    with (
      mock.patch.object(training, "make_evaluate", make_evaluate),
      self.assertRaises(AskedError) as asked,
    ):
      ask_route.plan(
        config, params, place, 0, 1, memory_size=None, readings=3, seed=0
      )
    self.assertEqual(asked.exception.args, (3, 3))

  def test_what_is_measured_is_each_pair_once(self):
    batch = told(4)
    outcomes, _ = walk(RouteEnvironment(readings=4), batch, by_chance(1))
    scores = RouteEnvironment().scores(outcomes)

    def make_evaluate(model, goal):
      del model
      self.assertEqual(goal.readings, 4)
      return mock.Mock(return_value=(outcomes, scores))

    with mock.patch.object(training, "make_evaluate", make_evaluate):
      found = measure.measure(
        mock.Mock(),
        {},
        TASK,
        mock.Mock(return_value=batch),
        episodes=3,
        batch_size=12,
        seed=0,
        memory_size=8,
        readings=4,
      )
    right = np.asarray(scores.right == scores.count)[::4]
    # Not all are alike, or one for all would do.
    self.assertBetween(right.sum(), 1, 2)
    self.assertAlmostEqual(found.accuracy, right.mean())
    units = sum(np.asarray(scores.right)[::4]) / sum(
      np.asarray(scores.count)[::4]
    )
    self.assertAlmostEqual(found.unit_accuracy, units)
    self.assertAlmostEqual(found.summary["arrived"], TASK.summary(
      batch, outcomes)["arrived"][::4].mean())  # fmt: skip

  @parameterized.parameters(
    ({"readings": 0}, "readings must be at least 1, got 0"),
    ({"readings": 2, "planner_fraction": 0.5}, "must be 0, got 0.5"),
  )
  def test_refusals(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      dataclasses.replace(RouteEnvironment(), **options)


if __name__ == "__main__":
  absltest.main()
