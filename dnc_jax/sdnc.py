"""The sparse DNC: sparse access, and sparse temporal links to follow.

Rae et al., "Scaling Memory-Augmented Neural Networks with Sparse Reads and
Writes" (NIPS 2016; arXiv:1610.09027), its supplement. Where the paper leaves a
choice, docs/deviations.md has ours.

Shapes: B sequences in the batch, N slots of memory, W numbers in a slot, R read
heads, K slots that a head reads, L links of a slot.
"""

from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax import _interface, _slots, sam
from dnc_jax._checks import at_least
from dnc_jax.dnc import DNC
from dnc_jax.sam import SAMAccessState
from dnc_jax.sparse_links import SparseLinkage, SparseLinkageState, SparseLinks


class SDNCAccessState(NamedTuple):
  """State of `SDNCAccess` after a step.

  Attributes:
    memory: As in `sam.SAMAccessState`, as are the others up to ``step``. Shape
      ``[B, N, W]``.
    squares: Shape ``[B, N]``.
    read_slots: Shape ``[B, R, K]``.
    read_weights: Shape ``[B, R, K]``; their sums are at most 1.
    write_slots: Shape ``[B, R·K + 1]``.
    write_weights: Shape ``[B, R·K + 1]``.
    last_access: Shape ``[B, N]``.
    step: Shape ``[B]``.
    linkage: Order of the writes, of one write head.
  """

  memory: jax.Array  # [B, N, W]
  squares: jax.Array  # [B, N]
  read_slots: jax.Array  # [B, R, K]
  read_weights: jax.Array  # [B, R, K]
  write_slots: jax.Array  # [B, R·K + 1]
  write_weights: jax.Array  # [B, R·K + 1]
  last_access: jax.Array  # [B, N]
  step: jax.Array  # [B]
  linkage: SparseLinkageState


def follow(
  slots: jax.Array, weights: jax.Array, links: SparseLinks
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
  """Returns where the links lead from some slots, each way.

      b = Lᵀ wʳ_prev,  f = L wʳ_prev

  Links pass no gradient; the weights do.

  Args:
    slots: Where each head was. Shape ``[B, R, K]``.
    weights: How much. Shape ``[B, R, K]``.
    links: Shapes ``[B, 1, N, L]``.

  Returns:
    Slots and weights of b, and of f, each ``[B, R, K·L]``. A slot may come up
    more than once; the slot N is none and weighs nothing.
  """
  batch_size, num_reads, _ = slots.shape
  batch = jnp.arange(batch_size)[:, None, None]

  def lead(lists: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    there, values = jax.lax.stop_gradient(
      (lists[batch, 0, slots], values[batch, 0, slots])
    )
    shape = (batch_size, num_reads, -1)
    return there.reshape(shape), (weights[..., None] * values).reshape(shape)

  return (
    lead(links.predecessors, links.predecessor_links),
    lead(links.successors, links.successor_links),
  )


def heaviest(
  slots: jax.Array, weights: jax.Array, count: int, num_slots: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the slots that weigh most, with weights of the same sum as all.

  Args:
    slots: Candidates, at least K of them different slots; may come up more than
      once, to weigh their sum; N for none. Shape ``[B, R, C]``.
    weights: At least 0. Shape ``[B, R, C]``.
    count: K.
    num_slots: N.

  Returns:
    K slots, all different, and their weights. Shapes ``[B, R, K]``.
  """
  total = _slots.totals(slots, jax.lax.stop_gradient(weights))
  total = jnp.where(_slots.distinct(slots) & (slots < num_slots), total, -1)
  places = jax.lax.top_k(total, count)[1]
  chosen = jnp.take_along_axis(slots, places, axis=-1)
  same = chosen[..., :, None] == slots[..., None, :]
  kept = jnp.sum(jnp.where(same, weights[..., None, :], 0), axis=-1)
  kept_sum = kept.sum(axis=-1, keepdims=True)
  scale = weights.sum(axis=-1, keepdims=True) / jnp.where(
    kept_sum > 0, kept_sum, 1
  )
  return chosen, scale * kept


class SDNCAccess(hk.RNNCore):
  """Memory with sparse access and sparse temporal links.

  Writes and looks up as `sam.SAMAccess`. A head then reads where its key was
  found, where the links lead to from what it read before, or a mixture; of that
  the K slots that weigh most:

      wʳ = heaviest of π[0] b + π[1] f + π[2] c

  A step takes what the controller says, ``[B, hidden size]``, and gives the
  words read, ``[B, R, W]``. One linear layer named ``interface`` gives what
  that of `sam.SAMAccess` does, and then:

  | quantity | numbers | range | made by |
  | --- | --- | --- | --- |
  | read modes π | R·3 | sums to 1 | softmax; backward, forward, content |

  A step costs O(N·W·R) to look up, without a gradient; for its backward pass it
  keeps O(K·R·(W + K·L)) numbers, whatever N. The links are 4·N·L numbers.
  """

  def __init__(
    self,
    memory_size: int = 1024,
    word_size: int = 32,
    num_reads: int = 4,
    *,
    sparsity: int = 4,
    link_size: int = 8,
    approximate: bool = False,
    name: str = "sdnc_access",
  ):
    """Makes a memory.

    Args:
      memory_size: N, slots, at least K. No parameter's shape depends on it.
      word_size: W, numbers in a slot, at least 1.
      num_reads: R, read heads, at least 1.
      sparsity: K, slots that a head reads, at least 1; the paper has 4 and 8.
      link_size: L, links of a slot each way, at least 1; N where it is more.
        The paper's is 8.
      approximate: As `sam.SAMAccess` takes it.
      name: Name of the module.

    Raises:
      ValueError: A size is out of its range.
    """
    super().__init__(name=name)
    self._memory_size = at_least("memory_size", memory_size, 1)
    self._word_size = at_least("word_size", word_size, 1)
    self._num_reads = at_least("num_reads", num_reads, 1)
    self._sparsity = sam.check_sparsity(sparsity, memory_size)
    self._approximate = approximate
    self._linkage = SparseLinkage(memory_size, link_size=link_size)

  @property
  def output_shape(self) -> tuple[int, int]:
    """Shape of the words read at a step, without the batch: ``(R, W)``."""
    return (self._num_reads, self._word_size)

  def __call__(
    self, inputs: jax.Array, prev_state: SDNCAccessState
  ) -> tuple[jax.Array, SDNCAccessState]:
    """Writes to the memory, then reads from it.

    Args:
      inputs: What the controller says. Shape ``[B, hidden size]``.
      prev_state: State of the step before.

    Returns:
      The words read, shape ``[B, R, W]``, and the new state.
    """
    prev = jax.tree.map(jnp.asarray, prev_state)
    interface = self.interface(inputs)
    mode = interface["read_mode"]

    state = sam.write(interface, SAMAccessState(*prev[:-1]))
    linkage = self._linkage.write(
      state.write_slots[:, None], state.write_weights[:, None], prev.linkage
    )
    found = sam.look_up(
      state.memory,
      state.squares,
      interface["read_keys"],
      self._sparsity,
      approximate=self._approximate,
    )
    memory, words = self._read(state.memory, found)
    content = sam.content_weights(
      words, interface["read_keys"], interface["read_strengths"]
    )
    backward, forward = follow(
      prev.read_slots, prev.read_weights, linkage.links
    )
    slots, weights = heaviest(
      jnp.concatenate([found, backward[0], forward[0]], axis=-1),
      jnp.concatenate(
        [
          mode[..., 2:] * content,
          mode[..., :1] * backward[1],
          mode[..., 1:2] * forward[1],
        ],
        axis=-1,
      ),
      self._sparsity,
      self._memory_size,
    )
    memory, words = self._read(memory, slots)
    state = sam.count_access(
      state._replace(memory=memory, read_slots=slots, read_weights=weights)
    )
    return jnp.einsum("brk,brkw->brw", weights, words), SDNCAccessState(
      *state, linkage=linkage
    )

  @hk.name_like("__call__")
  def interface(self, inputs: jax.Array) -> dict[str, jax.Array]:
    """Returns the quantities of the interface by name, each in its range.

    Args:
      inputs: What the controller says. Shape ``[B, hidden size]``.
    """
    shapes = sam.layout(self._word_size, self._num_reads)
    shapes["read_mode"] = (self._num_reads, 3)
    parts = sam.in_range(_interface.speak(inputs, shapes))
    return parts | {"read_mode": jax.nn.softmax(parts["read_mode"], axis=-1)}

  def initial_state(self, batch_size: int | None) -> SDNCAccessState:
    """Returns an empty memory that was never accessed: zeros, no links."""
    state = sam.initial_state(
      batch_size,
      memory_size=self._memory_size,
      word_size=self._word_size,
      num_reads=self._num_reads,
      sparsity=self._sparsity,
    )
    return SDNCAccessState(
      *state, linkage=self._linkage.initial_state(batch_size)
    )

  def _read(
    self, memory: jax.Array, slots: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the memory and words ``[B, R, K, W]`` of slots ``[B, R, K]``."""
    memory, words = _slots.read(memory, slots.reshape(len(slots), -1))
    return memory, words.reshape(*slots.shape, -1)


class SDNC(DNC):
  """A sparse Differentiable Neural Computer: a `DNC` around an `SDNCAccess`.

  Made and called as a DNC is, with the same `dnc.DNCState`. Its memory, if none
  is given, has 1,024 slots of 32 numbers; its name, if none is given, is
  ``sdnc``.
  """

  _default_access = SDNCAccess
