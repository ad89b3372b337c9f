"""The dense temporal links of a memory, as a Haiku recurrent core.

Shapes: B sequences in the batch, N slots, R read heads, H write heads.
"""

from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax import _links, addressing
from dnc_jax._checks import at_least


class TemporalLinkageState(NamedTuple):
  """State of `TemporalLinkage` after a step.

  Attributes:
    link: ``[b, h, i, j]`` is how much slot i was written right after slot j by
      head h, in [0, 1]. Shape ``[B, H, N, N]``, bfloat16 where so stored.
    precedence_weights: How much each slot was the last to be written, in
      [0, 1]. Shape ``[B, H, N]``.
  """

  link: jax.Array  # [B, H, N, N]
  precedence_weights: jax.Array  # [B, H, N]


class TemporalLinkage(hk.RNNCore):
  """Remembers in which order slots were written.

  A step takes write weights ``[B, H, N]`` and gives the new
  `TemporalLinkageState`, as output and as state. It has no parameters.
  """

  def __init__(
    self,
    memory_size: int,
    num_writes: int = 1,
    *,
    bfloat16: bool = False,
    name: str = "linkage",
  ):
    """Makes a linkage.

    Args:
      memory_size: N, number of slots, at least 1.
      num_writes: H, number of write heads, at least 1.
      bfloat16: Stores links, and their gradient, in 16 bits instead of 32, of
        which 8 tell the digits. A step computes in full.
      name: Name of the module.

    Raises:
      ValueError: A size is below 1.
    """
    super().__init__(name=name)
    self._memory_size = at_least("memory_size", memory_size, 1)
    self._num_writes = at_least("num_writes", num_writes, 1)
    self._bfloat16 = bfloat16

  def __call__(
    self, inputs: jax.Array, prev_state: TemporalLinkageState
  ) -> tuple[TemporalLinkageState, TemporalLinkageState]:
    """Counts this step's writes.

    Args:
      inputs: Write weights, in [0, 1]. Shape ``[B, H, N]``.
      prev_state: State of the step before.

    Returns:
      The new state, twice.
    """
    state = TemporalLinkageState(
      link=addressing.link(
        prev_state.link, prev_state.precedence_weights, inputs
      ).astype(prev_state.link.dtype),
      precedence_weights=addressing.precedence_weights(
        prev_state.precedence_weights, inputs
      ),
    )
    return state, state

  def follow(
    self,
    write_weights: jax.Array,
    prev_state: TemporalLinkageState,
    prev_read_weights: jax.Array,
    *,
    stop_gradient: bool = False,
  ) -> tuple[TemporalLinkageState, jax.Array, jax.Array]:
    """Counts this step's writes, and follows the links from what was read.

    As `addressing.link` and `addressing.directional_weights` together, in fewer
    passes through the links: what it costs, forward and backward, is in
    docs/performance.md. Not for forward-mode differentiation.

    Args:
      write_weights: This step's, in [0, 1]. Shape ``[B, H, N]``.
      prev_state: State of the step before.
      prev_read_weights: Read weights of the step before, in [0, 1]. Shape
        ``[B, R, N]``.
      stop_gradient: Lets no gradient through the links to write weights.

    Returns:
      The new state, and directional weights, forward and backward, each of
      shape ``[B, R, H, N]``.
    """
    if stop_gradient:
      write_weights = jax.lax.stop_gradient(write_weights)
    link, forward, backward = _links.step(
      prev_state.link,
      prev_state.precedence_weights,
      write_weights,
      prev_read_weights,
      stop_gradient=stop_gradient,
    )
    precedence_weights = addressing.precedence_weights(
      prev_state.precedence_weights, write_weights
    )
    return TemporalLinkageState(link, precedence_weights), forward, backward

  def initial_state(self, batch_size: int | None) -> TemporalLinkageState:
    """Returns the state before anything is written: zeros."""
    leading = () if batch_size is None else (batch_size,)
    shape = (*leading, self._num_writes, self._memory_size)
    dtype = jnp.bfloat16 if self._bfloat16 else None
    return TemporalLinkageState(
      link=jnp.zeros((*shape, self._memory_size), dtype),
      precedence_weights=jnp.zeros(shape),
    )
