"""Episodes in which a network's own moves come back to it as input.

A sequence task knows all inputs beforehand. Here the next input depends on what
the network just answered: a walk goes on from where the last move led. The
world answers inside the same compiled scan as the network, so no step waits for
the host. A task gives an `Environment`; `Acting` joins it with any core.

Shapes: T steps, B episodes in the batch, I inputs, O outputs.
"""

from typing import Any, NamedTuple, Protocol

import haiku as hk
import jax

from dnc_jax.losses import Array, Scores


class Episodes(NamedTuple):
  """Episodes to act in, padded to one length.

  Attributes:
    inputs: What the network hears whatever it does. Shape ``[T, B, I]``.
    mask: Above 0 on the steps at which a move may be asked for; tells queries
      of one episode apart by their number, from 1. Else 0, or minus that number
      where an environment asks for something else. Shape ``[T, B]``.
    coins: Uniform numbers in [0, 1), the chance of each step. Shape ``[T, B]``.
    world: What the environment knows of each episode; every array of it has a
      leading batch axis.
    lesson: Lesson of the curriculum that each episode is of. Shape ``[B]``,
      int32.
  """

  inputs: Array  # [T, B, I]
  mask: Array  # [T, B]
  coins: Array  # [T, B]
  world: Any
  lesson: Array  # [B]


class Environment(Protocol):
  """What a network acts in: pure functions of arrays, traced by JAX."""

  def start(self, world: Any) -> Any:
    """Returns the environment's state before the first step."""
    ...

  def hear(self, state: Any, inputs: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns what the network hears at a step.

    Args:
      state: The environment's state.
      inputs: `Episodes.inputs` at this step. Shape ``[B, I]``.
      mask: `Episodes.mask` at this step. Shape ``[B]``.

    Returns:
      Shape ``[B, I]``.
    """
    ...

  def act(
    self,
    world: Any,
    state: Any,
    logits: jax.Array,
    mask: jax.Array,
    coins: jax.Array,
  ) -> tuple[Any, Any]:
    """Moves as the network says, or as chance has it.

    Args:
      world: `Episodes.world`.
      state: The environment's state.
      logits: What the network answers. Shape ``[B, O]``.
      mask: `Episodes.mask` at this step. Shape ``[B]``.
      coins: `Episodes.coins` at this step. Shape ``[B]``.

    Returns:
      The next state, and the outcome: arrays with a leading batch axis.
    """
    ...

  def scores(self, outcomes: Any) -> Scores:
    """Returns the scores of all steps' outcomes, ``[T, B, ...]`` each."""
    ...


class ActingState(NamedTuple):
  """State of `Acting` after a step.

  Attributes:
    core: State of the core.
    environment: State of the environment.
  """

  core: Any
  environment: Any


class Acting(hk.RNNCore):
  """A core that acts in an environment.

  A step takes `Episodes.inputs`, `Episodes.mask` and `Episodes.coins` of that
  step and gives the core's logits and the environment's outcome. It has no
  parameters but the core's, under their own names.
  """

  def __init__(
    self,
    core: Any,
    environment: Environment,
    world: Any,
    name: str = "acting",
  ):
    """Joins them.

    Args:
      core: Any function from inputs and state to logits and state, such as an
        `hk.RNNCore`.
      environment: What it acts in.
      world: `Episodes.world`.
      name: Name of the module.
    """
    super().__init__(name=name)
    self._core = core
    self._environment = environment
    self._world = world

  def __call__(
    self,
    inputs: tuple[jax.Array, jax.Array, jax.Array],
    prev_state: ActingState,
  ) -> tuple[tuple[jax.Array, Any], ActingState]:
    """Does one step: hears, answers, moves."""
    told, mask, coins = inputs
    environment = self._environment
    heard = environment.hear(prev_state.environment, told, mask)
    logits, core_state = self._core(heard, prev_state.core)
    state, outcome = environment.act(
      self._world, prev_state.environment, logits, mask, coins
    )
    return (logits, outcome), ActingState(core_state, state)

  def initial_state(self, batch_size: int | None) -> ActingState:
    """Returns the state before the first step of the core and the world.

    Args:
      batch_size: B, as many as the world has episodes.
    """
    return ActingState(
      self._core.initial_state(batch_size),
      self._environment.start(self._world),
    )
