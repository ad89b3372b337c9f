"""Worked answers of shortest path: what a search from both ends finds."""

import dataclasses

import haiku as hk
import jax
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax.controllers import Buckets
from tasks import graphs, routes
from tasks.route_environment import RouteEnvironment, frontiers
from tasks.shortest_path import WORKED_LESSONS, ShortestPath
from tests.cores import Hearing

# 0 - 1 - 2 - 3 in a line, both ways; 4 leads to 2 only, and 0 leads to 4.
LEADS = [[1, 4], [0, 2], [1, 3], [2], [2]]
NAMES = [123, 245, 367, 489, 501]


def mean_digits(*nodes: int) -> np.ndarray:
  """Returns the mean one-hots of the digits of the labels of nodes."""
  total = np.zeros((3, 10))
  for node in nodes:
    for place, digit in enumerate(str(NAMES[node])):
      total[place, int(digit)] += 1 / len(nodes)
  return total.ravel()


class FrontiersTest(absltest.TestCase):
  def drawn(self) -> graphs.Graphs:
    return graphs.Graphs(
      node_labels=np.array([[*NAMES, -1]]),
      neighbours=np.array([[x + [0] * (2 - len(x)) for x in [*LEADS, []]]]),
      edge_labels=np.zeros((1, 6, 2), int),
      degrees=np.array([[len(x) for x in [*LEADS, []]]]),
    )

  def found(self, pairs: np.ndarray, **options) -> np.ndarray:
    between = routes.distances(self.drawn())
    return frontiers(
      self.drawn().node_labels,
      between[:, pairs[:, 0]],
      between[:, :, pairs[:, 1]].transpose(0, 2, 1),
      between[:, pairs[:, 0], pairs[:, 1]],
      2,
      **options,
    )

  def test_by_hand(self):
    pairs = np.array([[0, 3], [1, 3], [0, 1]])
    found = self.found(pairs)
    self.assertEqual(found.shape, (1, 3, 4, 60))
    nothing = np.zeros(60)
    expected = [
      # From 0 to 3 it is three steps: one before 3 is 2, two before it are 1
      # and 4; one beyond 0 are 1 and 4, two beyond it is 2.
      [
        [*mean_digits(2), *mean_digits(1, 4)],
        [*mean_digits(1, 4), *mean_digits(2)],
        # All of these are on a shortest path.
        [*mean_digits(1, 4), *mean_digits(2)],
        [*mean_digits(2), *mean_digits(1, 4)],
      ],
      # From 1 to 3, two steps: one beyond 1 are 0 and 2, but 0 is no way.
      [
        [*mean_digits(2), *mean_digits(0, 2)],
        [*mean_digits(1, 4), *mean_digits(3, 4)],
        [*mean_digits(2), *mean_digits(2)],
        [*mean_digits(2), *mean_digits(2)],
      ],
      # From 0 to 1, one step, nothing is in between.
      [
        [*mean_digits(0, 2), *mean_digits(1, 4)],
        [*mean_digits(3, 4), *mean_digits(2)],
        nothing,
        nothing,
      ],
    ]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    # Back to the ends again, and the same once more.
    again = self.found(pairs, rounds=3)[0]
    np.testing.assert_array_equal(again[:, :4], found[0])
    for start in (4, 6):
      np.testing.assert_array_equal(
        again[:, start : start + 2], found[0, :, 2:]
      )

  def test_buckets_are_those_that_the_controller_hears(self):
    pairs = np.array([[0, 3], [1, 3], [0, 1]])
    found = self.found(pairs, num_buckets=7)[0].reshape(3, 4, 2, 44)
    digits = self.found(pairs)[0].reshape(3, 4, 2, 30)
    np.testing.assert_array_equal(found[..., :30], digits)

    labels = graphs.one_hots(np.array(NAMES)[:, None])
    network = hk.transform(
      lambda x: Buckets(Hearing(), 1, graphs.LABEL_SIZE, 7)(x, ())[0]
    )
    heard = np.asarray(network.apply({}, jax.random.key(0), labels))[:, 30:]
    # Of the query from 0 to 3: before 3 is 2; beyond 0 are 1 and 4.
    np.testing.assert_allclose(found[0, 0, 0, 30:], heard[2])
    np.testing.assert_allclose(found[0, 0, 1, 30:], heard[[1, 4]].mean(axis=0))
    # Nothing is in between 0 and 1.
    np.testing.assert_array_equal(found[2, 2:], 0)


class WorkedTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.task = ShortestPath(
      WORKED_LESSONS, num_queries=2, planning_steps=5, worked=True
    )
    self.batch = self.task.sample(np.random.default_rng(0), np.full(20, 2))

  def outcomes(self, answers):
    """Returns outcomes for logits that are told the step and the mask."""
    environment = self.task.objective
    state, outcomes = environment.start(self.batch.world), []
    act = jax.jit(environment.act)
    for step, mask in enumerate(self.batch.mask):
      state, outcome = act(
        self.batch.world,
        state,
        answers(step, mask),
        mask,
        self.batch.coins[step],
      )
      outcomes.append(outcome)
    outcomes = jax.tree.map(lambda *x: np.stack(x), *outcomes)
    return jax.jit(environment.scores)(outcomes), outcomes

  def test_the_network_hears_the_same(self):
    plain = ShortestPath(WORKED_LESSONS, num_queries=2, planning_steps=5)
    batch = plain.sample(np.random.default_rng(0), np.full(20, 2))
    np.testing.assert_array_equal(batch.inputs, self.batch.inputs)
    np.testing.assert_array_equal(batch.coins, self.batch.coins)
    np.testing.assert_array_equal(batch.mask, np.maximum(self.batch.mask, 0))
    self.assertEqual(batch.world.frontiers.shape, (20, 2, 0, 60))

  def test_planning_is_scored_until_the_ends_meet(self):
    _, outcomes = self.outcomes(lambda *_: np.zeros((20, 90), np.float32))
    places = self.batch.world
    rows = np.arange(20)
    for query in range(2):
      shortest = places.distance[rows, query, places.source[:, query]]
      own = self.batch.mask == -(query + 1)
      np.testing.assert_array_equal(own.sum(axis=0), 5)
      scored = outcomes.working & own
      # Two steps out, and as many back if there are nodes in between.
      np.testing.assert_array_equal(
        scored.sum(axis=0), np.where(shortest > 1, 4, 2)
      )
    self.assertFalse((outcomes.working & outcomes.moving).any())
    self.assertFalse(outcomes.worked_loss[~outcomes.working].any())
    self.assertGreater(outcomes.worked_loss[outcomes.working].min(), 0.1)

  @parameterized.parameters(0, 6)
  def test_the_least_loss_is_none(self, num_buckets):
    self.task = dataclasses.replace(self.task, worked_buckets=num_buckets)
    self.batch = self.task.sample(np.random.default_rng(0), np.full(20, 2))
    found = self.batch.world.frontiers
    planned = np.zeros(20, int)

    def right(_, mask):
      nonlocal planned
      query = np.maximum(-mask.astype(int) - 1, 0)
      at = np.minimum(planned, found.shape[2] - 1)
      now = np.log(found[np.arange(20), query, at] + 1e-9)
      now = now.reshape(20, 2, -1)
      triples = np.zeros((20, 3, 30), np.float32)
      triples[:, [0, 2]] = now[..., :30]
      planned = np.where(mask < 0, planned + 1, 0)
      return np.concatenate(
        [triples.reshape(20, 90), now[..., 30:].reshape(20, -1)], axis=-1
      )

    size = self.task.output_size
    self.assertEqual(size, 90 + 4 * num_buckets)
    scores, outcomes = self.outcomes(right)
    self.assertLess(abs(outcomes.worked_loss).max(), 1e-5)
    moves = outcomes.loss.sum() / outcomes.moving.sum()
    np.testing.assert_allclose(scores.loss, moves, rtol=1e-5)
    wrong, other = self.outcomes(lambda *_: np.zeros((20, size), np.float32))
    worked = other.worked_loss.sum() / other.working.sum()
    np.testing.assert_allclose(
      wrong.loss, other.loss.sum() / other.moving.sum() + worked, rtol=1e-5
    )

    def buckets_wrong(step, mask):
      answer = right(step, mask)
      answer[:, 90:] = answer[:, :89:-1]
      return answer

    planned = np.zeros(20, int)
    _, mixed = self.outcomes(buckets_wrong)
    # Moves are of triples alone.
    np.testing.assert_array_equal(mixed.loss, outcomes.loss)
    if num_buckets:
      self.assertGreater(mixed.worked_loss[mixed.working].mean(), 0.1)

  def test_what_is_learned_is_not_what_is_counted(self):
    scores, outcomes = self.outcomes(
      lambda *_: np.random.default_rng(0).normal(size=(20, 90))
    )
    np.testing.assert_array_equal(scores.count, outcomes.moving.sum(axis=0))
    self.assertIsInstance(self.task.test_objective, RouteEnvironment)


if __name__ == "__main__":
  absltest.main()
