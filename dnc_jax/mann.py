"""A memory that is written where it is least used, and read by content.

Santoro, Bartunov, Botvinick, Wierstra & Lillicrap, "Meta-Learning with
Memory-Augmented Neural Networks" (ICML 2016; arXiv:1605.06065, "One-shot
Learning with Memory-Augmented Neural Networks"). Where the paper leaves a
choice, docs/deviations.md has ours.

Shapes: B sequences in the batch, N slots of memory, W numbers in a slot, R
heads.
"""

from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax import _interface, addressing
from dnc_jax._checks import at_least
from dnc_jax.dnc import DNC


def least_used(usage: jax.Array, count: int) -> jax.Array:
  """Returns the least used slots, one for each head (equation 6).

  Among slots as little used, the first come first.

  >>> least_used(jnp.array([[0.5, 0.0, 0.25]]), 2)
  Array([[[0., 1., 0.],
          [0., 0., 1.]]], dtype=float32)

  Args:
    usage: How much each slot is used. Shape ``[B, N]``.
    count: R, how many; at most N.

  Returns:
    Ones at those slots, else zeros, without a gradient. Shape ``[B, R, N]``.
  """
  chex.assert_rank(usage, 2)
  _, slots = jax.lax.top_k(jax.lax.stop_gradient(-usage), count)
  return jax.nn.one_hot(slots, usage.shape[-1], dtype=usage.dtype)


class MANNAccessState(NamedTuple):
  """State of `MANNAccess` after a step.

  Attributes:
    memory: Contents. Shape ``[B, N, W]``.
    read_weights: Where each head read, a distribution. Shape ``[B, R, N]``.
    write_weights: Where each head wrote. Shape ``[B, R, N]``.
    usage: How much each slot was read and written of late, at least 0. Shape
      ``[B, N]``.
  """

  memory: jax.Array  # [B, N, W]
  read_weights: jax.Array  # [B, R, N]
  write_weights: jax.Array  # [B, R, N]
  usage: jax.Array  # [B, N]


class MANNAccess(hk.RNNCore):
  """Memory with least recently used access.

  A head writes its key where it read at the step before, or to a slot that is
  little used, or both; a slot to be written that is little used is wiped first:

      wʷ = σ(α) wʳ_prev + (1 - σ(α)) wˡᵘ_prev
      wʳ = softmax of cosine(k, M_prev)
      wᵘ = γ wᵘ_prev + Σ wʳ + Σ wʷ

  It reads what the memory held before: its key is also what it writes, and
  would find nothing but itself. A step takes what the controller says,
  ``[B, hidden size]``, and gives the words read, ``[B, R, W]``. One linear
  layer named ``interface`` gives R·W numbers for the keys, of any value, and
  R for α.
  """

  def __init__(
    self,
    memory_size: int = 128,
    word_size: int = 40,
    num_reads: int = 4,
    *,
    usage_decay: float = 0.95,
    name: str = "mann_access",
  ):
    """Makes a memory; sizes as the paper's.

    Args:
      memory_size: N, slots, at least R. No parameter's shape depends on it.
      word_size: W, numbers in a slot, at least 1.
      num_reads: R, heads, which both read and write, at least 1.
      usage_decay: γ, what is left of usage after a step, in [0, 1]; the paper's
        is 0.95.
      name: Name of the module.

    Raises:
      ValueError: A size or ``usage_decay`` is out of its range.
    """
    super().__init__(name=name)
    self._num_reads = at_least("num_reads", num_reads, 1)
    self._memory_size = at_least("memory_size", memory_size, num_reads)
    self._word_size = at_least("word_size", word_size, 1)
    if not 0 <= usage_decay <= 1:
      raise ValueError(f"usage_decay must be in [0, 1], got {usage_decay}.")
    self._usage_decay = usage_decay

  @property
  def output_shape(self) -> tuple[int, int]:
    """Shape of the words read at a step, without the batch: ``(R, W)``."""
    return (self._num_reads, self._word_size)

  def __call__(
    self, inputs: jax.Array, prev_state: MANNAccessState
  ) -> tuple[jax.Array, MANNAccessState]:
    """Reads from the memory, then writes to it.

    Args:
      inputs: What the controller says. Shape ``[B, hidden size]``.
      prev_state: State of the step before.

    Returns:
      The words read, shape ``[B, R, W]``, and the new state.
    """
    heads = self._num_reads
    parts = self.interface(inputs)
    keys, gate = parts["keys"], parts["interpolation_gate"][..., None]

    read_weights = addressing.content_weights(
      prev_state.memory, keys, jnp.ones(keys.shape[:2], keys.dtype)
    )
    read_words = read_weights @ prev_state.memory
    least = least_used(prev_state.usage, heads)
    write_weights = gate * prev_state.read_weights + (1 - gate) * least
    wiped = prev_state.memory * (1 - least.sum(axis=1))[..., None]
    memory = wiped + jnp.einsum("brn,brw->bnw", write_weights, keys)
    usage = (
      self._usage_decay * prev_state.usage
      + read_weights.sum(axis=1)
      + write_weights.sum(axis=1)
    )
    return read_words, MANNAccessState(
      memory=memory,
      read_weights=read_weights,
      write_weights=write_weights,
      usage=usage,
    )

  @hk.name_like("__call__")
  def interface(self, inputs: jax.Array) -> dict[str, jax.Array]:
    """Returns the keys, and σ(α), in [0, 1], as ``interpolation_gate``.

    Args:
      inputs: What the controller says. Shape ``[B, hidden size]``.
    """
    heads = self._num_reads
    parts = _interface.speak(
      inputs, {"keys": (heads, self._word_size), "interpolation_gate": (heads,)}
    )
    return parts | {
      "interpolation_gate": jax.nn.sigmoid(parts["interpolation_gate"])
    }

  def initial_state(self, batch_size: int | None) -> MANNAccessState:
    """Returns an empty memory that was never read or written: zeros."""
    batch = () if batch_size is None else (batch_size,)
    weights = jnp.zeros((*batch, self._num_reads, self._memory_size))
    return MANNAccessState(
      memory=jnp.zeros((*batch, self._memory_size, self._word_size)),
      read_weights=weights,
      write_weights=weights,
      usage=jnp.zeros((*batch, self._memory_size)),
    )


class MANN(DNC):
  """A memory-augmented network: a `DNC` around a `MANNAccess`.

  Made and called as a DNC is, with the same `dnc.DNCState`. Its memory, if none
  is given, has the paper's sizes; its name, if none is given, is ``mann``.
  """

  _default_access = MANNAccess
