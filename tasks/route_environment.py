"""The world that shortest paths are walked in, as an `Environment`.

A network's answer is renormalised over the triples that leave the node it is
at, so that every move is along an edge:

    p(k) ∝ exp Σ_d logit[d, digit d of triple k]

Several readings of one graph, each under labels and in an order of its own, can
decide together: p(k) is then their mean.

Shapes: T steps, B episodes, Q queries of each, N nodes at most, K edges at most
that leave a node.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dnc_jax.controllers import NUM_TABLES, bucket_codes
from dnc_jax.losses import Array, Scores
from tasks import graphs, routes

TARGETS = ("all", "one", "even")

# In place of a logit of what cannot be; finite, so that gradients are.
_NEVER = -1e9


class World(NamedTuple):
  """What the environment knows of each episode.

  Attributes:
    digits: The nine digits of the triple of each edge. Shape ``[B, N, K, 9]``.
    neighbours: Where each edge leads. Shape ``[B, N, K]``.
    legal: Whether there is such an edge. Shape ``[B, N, K]``.
    distance: Steps from each node to the destination of each query,
      `routes.UNREACHABLE` where there is no path. Shape ``[B, Q, N]``.
    source: Node to start from in each query. Shape ``[B, Q]``.
    frontiers: What to say while planning, for worked answers; see `frontiers`.
      Shape ``[B, Q, P, 2 C]``, P 0 where planning is not scored.
  """

  digits: Array  # [B, N, K, 9]
  neighbours: Array  # [B, N, K]
  legal: Array  # [B, N, K]
  distance: Array  # [B, Q, N]
  source: Array  # [B, Q]
  frontiers: Array  # [B, Q, P, 2 C]


class WalkState(NamedTuple):
  """State of a `RouteEnvironment`.

  Attributes:
    query: Number of the query that it is about, from 1; 0 before the first.
      Shape ``[B]``.
    node: Where the walk is. Shape ``[B]``, int32.
    taken: The triple of the move before, zeros before the first. Shape
      ``[B, 90]``.
    going: Whether the walk has neither arrived nor lost its way. Shape
      ``[B]``, bool.
    planned: Steps of planning in this query so far. Shape ``[B]``, int32.
  """

  query: jax.Array  # [B]
  node: jax.Array  # [B]
  taken: jax.Array  # [B, 90]
  going: jax.Array  # [B]
  planned: jax.Array  # [B]


class Moves(NamedTuple):
  """Outcome of a step.

  Attributes:
    moving: Whether there was a move. Shape ``[B]``, bool.
    loss: Cross-entropy to the target, in nats. Shape ``[B]``.
    excess: Steps by which the network's own choice is longer than the shortest
      path: 0 where it is optimal. Shape ``[B]``, int32.
    node: Where the walk was. Shape ``[B]``, int32.
    edge: Which of its edges was taken. Shape ``[B]``, int32.
    remaining: Steps to the destination after the move. Shape ``[B]``, int32.
    chance: How likely the network finds its own choice, in [0, 1]. Shape
      ``[B]``.
    worked_loss: Mean cross-entropy of a digit or bucket of the frontiers,
      beyond the least there can be, in nats; 0 where none is asked for. Shape
      ``[B]``.
    working: Whether frontiers were asked for. Shape ``[B]``, bool.
  """

  moving: jax.Array  # [B]
  loss: jax.Array  # [B]
  excess: jax.Array  # [B]
  node: jax.Array  # [B]
  edge: jax.Array  # [B]
  remaining: jax.Array  # [B]
  chance: jax.Array  # [B]
  worked_loss: jax.Array  # [B]
  working: jax.Array  # [B]


@dataclasses.dataclass(frozen=True)
class RouteEnvironment:
  """Walks over graphs; see `dnc_jax.interaction.Environment`.

  Attributes:
    planner_fraction: β, how likely the planner moves and not the network.
    target: Which first steps are right, as `ShortestPath.target`.
    slack: Steps that an episode may be too long by and still count as right.
    readings: Episodes, one after the other in the batch, that are readings of
      one graph and one query and move together, by the mean of their chances;
      at least 1. The batch must be a multiple of it. The paper's networks read
      a graph once.
  """

  planner_fraction: float = 0.0
  target: str = "all"
  slack: int = 0
  readings: int = 1

  def __post_init__(self):
    """Checks the fields.

    Raises:
      ValueError: There are no readings, or several, and a planner that would
        move them apart.
    """
    if self.readings < 1:
      raise ValueError(f"readings must be at least 1, got {self.readings}.")
    if self.readings > 1 and self.planner_fraction:
      raise ValueError(
        f"With readings={self.readings} the network alone may move; "
        f"planner_fraction must be 0, got {self.planner_fraction}."
      )

  def start(self, world: World) -> WalkState:
    """Returns the state before the first step: at no query yet."""
    batch_size = len(world.source)
    return WalkState(
      query=jnp.zeros(batch_size),
      node=jnp.zeros(batch_size, jnp.int32),
      taken=jnp.zeros([batch_size, graphs.TRIPLE_SIZE]),
      going=jnp.zeros(batch_size, bool),
      planned=jnp.zeros(batch_size, jnp.int32),
    )

  def hear(
    self, state: WalkState, inputs: jax.Array, mask: jax.Array
  ) -> jax.Array:
    """Returns the inputs with the last move; zeros once the walk is over."""
    first = (mask > 0) & (mask != state.query)
    onward = (mask > 0) & (mask == state.query)
    taken = jnp.where(onward[:, None], state.taken, 0)
    channels = graphs.INPUT_SIZE - graphs.TRIPLE_SIZE
    heard = inputs + jnp.pad(taken, ((0, 0), (0, channels)))
    silent = (mask > 0) & ~(first | state.going)
    return jnp.where(silent[:, None], 0, heard)

  def act(
    self,
    world: World,
    state: WalkState,
    logits: jax.Array,
    mask: jax.Array,
    coins: jax.Array,
  ) -> tuple[WalkState, Moves]:
    """Moves by the planner or the network, as the coins fall."""
    rows = jnp.arange(len(logits))
    asked = mask > 0
    query = jnp.maximum(jnp.abs(jnp.asarray(mask, jnp.int32)) - 1, 0)
    worked_loss, working = _worked(world, state, query, logits, mask)
    logits = logits[:, : graphs.TRIPLE_SIZE]
    first = asked & (mask != state.query)
    node = jnp.where(first, jnp.asarray(world.source)[rows, query], state.node)
    going = first | state.going
    state = state._replace(query=jnp.where(asked, mask, state.query))

    triples = jax.nn.one_hot(
      jnp.asarray(world.digits)[rows, node], graphs.BASE
    )  # [B, K, 9, 10]
    triples = triples.reshape(*triples.shape[:2], -1)
    leads_to = jnp.asarray(world.neighbours)[rows, node]  # [B, K]
    legal = jnp.asarray(world.legal)[rows, node]
    distance = jnp.asarray(world.distance)[rows, query]  # [B, N]
    here = distance[rows, node]
    there = distance[rows[:, None], leads_to]  # [B, K]
    best = legal & (there == here[:, None] - 1)

    scores = jnp.einsum("bko,bo->bk", triples, logits)
    scores = self._together(jnp.where(legal, scores, _NEVER))
    log_chances = jax.nn.log_softmax(scores)
    choice = scores.argmax(axis=-1)
    planned = best.argmax(axis=-1)
    moving = asked & going
    edge = jnp.where(coins < self.planner_fraction, planned, choice)
    remaining = there[rows, edge]
    outcome = Moves(
      moving=moving,
      loss=jnp.where(moving, self._loss(log_chances, best, planned), 0),
      excess=there[rows, choice] + 1 - here,
      node=node,
      edge=edge,
      remaining=remaining,
      chance=jnp.exp(log_chances[rows, choice]),
      worked_loss=worked_loss,
      working=working,
    )
    over = (remaining == 0) | (remaining >= routes.UNREACHABLE)
    state = state._replace(
      node=jnp.where(moving, leads_to[rows, edge], node),
      taken=jnp.where(moving[:, None], triples[rows, edge], state.taken),
      going=going & ~(moving & over),
      planned=jnp.where(mask < 0, state.planned + 1, 0),
    )
    return state, outcome

  def scores(self, outcomes: Moves) -> Scores:
    """Returns the mean loss of a move, and right moves of all made.

    An episode whose choices cost no more than the slack counts as all right.
    The mean loss of worked answers is added where there are any.
    """
    worked = outcomes.worked_loss.sum() / jnp.maximum(outcomes.working.sum(), 1)
    count = outcomes.moving.sum(axis=0)
    cost = (outcomes.excess * outcomes.moving).sum(axis=0)
    right = ((outcomes.excess == 0) & outcomes.moving).sum(axis=0)
    return Scores(
      loss=outcomes.loss.sum() / jnp.maximum(count.sum(), 1) + worked,
      right=jnp.where(cost <= self.slack, count, right),
      count=count,
    )

  def _together(self, scores: jax.Array) -> jax.Array:
    """Returns scores that all readings of a graph share, shape ``[B, K]``."""
    if self.readings == 1:
      return scores
    log_chances = jax.nn.log_softmax(scores)
    each = log_chances.reshape(-1, self.readings, scores.shape[-1])
    total = jax.nn.logsumexp(each, axis=1)  # The mean, but for a constant.
    return jnp.repeat(total, self.readings, axis=0)

  def _loss(
    self, log_chances: jax.Array, best: jax.Array, planned: jax.Array
  ) -> jax.Array:
    """Returns the cross-entropy to the target, shape ``[B]``."""
    if self.target == "one":
      return -log_chances[jnp.arange(len(planned)), planned]
    if self.target == "even":
      total = jnp.where(best, log_chances, 0).sum(axis=-1)
      return -total / jnp.maximum(best.sum(axis=-1), 1)
    return -jax.nn.logsumexp(jnp.where(best, log_chances, _NEVER), axis=-1)


def _worked(
  world: World,
  state: WalkState,
  query: jax.Array,
  logits: jax.Array,
  mask: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Returns `Moves.worked_loss` and `Moves.working`."""
  batch_size = len(logits)
  steps = world.frontiers.shape[2]
  if not steps:
    return jnp.zeros(batch_size), jnp.zeros(batch_size, bool)
  step = jnp.minimum(state.planned, steps - 1)
  target = jnp.asarray(world.frontiers)[jnp.arange(batch_size), query, step]
  target = target.reshape(batch_size, 2, -1)
  working = (mask < 0) & (state.planned < steps)
  working &= target.sum(axis=(1, 2)) > 0
  # The digits of sources and destinations, then the buckets of either.
  said = logits[:, : graphs.TRIPLE_SIZE].reshape(batch_size, 3, -1)
  said = said[:, jnp.array([graphs.SOURCE, graphs.DESTINATION])]
  loss = _beyond(target[..., : graphs.LABEL_SIZE], said, graphs.DIGITS)
  if target.shape[-1] > graphs.LABEL_SIZE:
    buckets = target[..., graphs.LABEL_SIZE :]
    said = logits[:, graphs.TRIPLE_SIZE :].reshape(buckets.shape)
    loss = jnp.concatenate([loss, _beyond(buckets, said, NUM_TABLES)], axis=-1)
  return jnp.where(working, loss.mean(axis=(1, 2)), 0), working


def _beyond(target: jax.Array, said: jax.Array, groups: int) -> jax.Array:
  """Returns cross-entropies less the least there can be, shape [B, 2, groups].

  Of groups of equal size: digits of a label, or tables of buckets.
  """
  shape = (*target.shape[:2], groups, -1)
  target = target.reshape(shape)
  log_chances = jax.nn.log_softmax(said.reshape(shape))
  least = jax.scipy.special.entr(target).sum(axis=-1)
  return -(target * log_chances).sum(axis=-1) - least


def bucket_size(num_buckets: int) -> int:
  """Returns how many numbers tell the buckets of a label."""
  return NUM_TABLES * num_buckets


def frontiers(
  node_labels: np.ndarray,
  from_source: np.ndarray,
  to_destination: np.ndarray,
  shortest: np.ndarray,
  depth: int,
  rounds: int = 1,
  num_buckets: int = 0,
) -> np.ndarray:
  """Returns what a search from both ends finds, step by step.

  The search goes ``depth`` steps from either end and then back from where the
  two met, the latter ``rounds`` times: what one round found narrows what the
  next has to look for. At steps j = 1, 2 ... depth of planning a route of L
  steps the target is all nodes from which it is j steps to the destination, and
  all to which it is j steps from the source; then, at j = depth ... 2, 1, those
  that are on a shortest path, with L - 1 in place of j where that is less. All
  by the digits of their labels, and by their buckets if there are any, as they
  are on average; zeros where there are no such nodes.

  Args:
    node_labels: Labels of B graphs, -1 beyond their nodes. Shape ``[B, N]``.
    from_source: Steps from each query's source. Shape ``[B, Q, N]``.
    to_destination: Steps to each query's destination. Shape ``[B, Q, N]``.
    shortest: L of each query. Shape ``[B, Q]``.
    depth: Steps to search from either end.
    rounds: How often to go back to the ends, at least 1.
    num_buckets: Buckets of each of the tables of `controllers.Buckets`, 0 for
      none.

  Returns:
    Digits and buckets before the destination, then those beyond the source.
    Shape ``[B, Q, (1 + rounds) depth, 2 C]``, float32, with C = 30 +
    `bucket_size`.
  """
  codes = graphs.one_hots(node_labels[..., None])  # [B, N, 30]
  if num_buckets:
    tables = bucket_codes(graphs.LABEL_SIZE, num_buckets)
    number = (codes @ tables.T).astype(int) % num_buckets
    buckets = np.eye(num_buckets)[number].reshape(*codes.shape[:2], -1)
    codes = np.concatenate([codes, buckets], axis=-1).astype(np.float32)
  out = 1 + np.arange(depth)
  steps = np.concatenate([out, *[out[::-1]] * rounds])
  back = np.minimum(steps[depth:], shortest[..., None] - 1)
  steps = np.broadcast_to(steps, (*shortest.shape, len(steps))).copy()
  steps[..., depth:] = np.where(back > 0, back, -1)
  either = np.stack([to_destination, from_source], axis=2)  # [B, Q, 2, N]
  found = either[:, :, None] == steps[..., None, None]  # [B, Q, P, 2, N]
  on_path = either.sum(axis=2) == shortest[..., None]  # [B, Q, N]
  found[:, :, depth:] &= on_path[:, :, None, None]
  count = np.maximum(found.sum(axis=-1, keepdims=True), 1)
  share = (found / count).astype(np.float32)
  # One product of matrices for each graph: an einsum over five axes is slow.
  mean = share.reshape(len(codes), -1, codes.shape[1]) @ codes
  return mean.reshape(*share.shape[:3], -1).astype(np.float32)


def world(
  drawn: graphs.Graphs,
  distance: np.ndarray,
  source: np.ndarray,
  worked: np.ndarray | None = None,
) -> World:
  """Returns what the environment knows of graphs and of where to go.

  Args:
    drawn: B graphs.
    distance: Steps from each node to each destination. Shape ``[B, Q, N]``.
    source: Where to start from. Shape ``[B, Q]``.
    worked: What `frontiers` gives, if planning is scored.
  """
  if worked is None:
    worked = np.zeros((*source.shape, 0, 2 * graphs.LABEL_SIZE), np.float32)
  rows = np.arange(len(source))[:, None, None]
  most_edges = drawn.neighbours.shape[-1]
  legal = np.arange(most_edges) < drawn.degrees[..., None]
  labels = np.stack(
    [
      np.broadcast_to(drawn.node_labels[..., None], legal.shape),
      drawn.edge_labels,
      drawn.node_labels[rows, drawn.neighbours],
    ],
    axis=-1,
  )  # [B, N, K, 3]
  return World(
    digits=graphs.digits(labels).reshape(*legal.shape, -1).astype(np.int32),
    neighbours=drawn.neighbours.astype(np.int32),
    legal=legal,
    distance=distance.astype(np.int32),
    source=source.astype(np.int32),
    frontiers=worked,
  )
