"""Several readings of one graph that decide together where to go."""

import dataclasses

import jax
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax.interaction import Episodes
from scripts import measure
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

  @parameterized.parameters(
    ({"readings": 0}, "readings must be at least 1, got 0"),
    ({"readings": 2, "planner_fraction": 0.5}, "must be 0, got 0.5"),
  )
  def test_refusals(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      dataclasses.replace(RouteEnvironment(), **options)


if __name__ == "__main__":
  absltest.main()
