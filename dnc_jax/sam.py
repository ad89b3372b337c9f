"""A memory of which each step reads and writes a few slots: sparse access.

Rae, Hunt, Harley, Danihelka, Senior, Wayne, Graves & Lillicrap, "Scaling
Memory-Augmented Neural Networks with Sparse Reads and Writes" (NIPS 2016;
arXiv:1610.09027). Where the paper leaves a choice, docs/deviations.md has ours.

What the backward pass keeps of a step does not grow with the number of slots:
the words read, and where they were. The memory itself is only ever changed in
place. What does grow is the time to look up: every slot is compared with every
key, without a gradient, to choose those to read. (The paper has an index for
that; an array of static shape has none.)

Shapes: B sequences in the batch, N slots of memory, W numbers in a slot, R read
heads, K slots that a head reads.
"""

from collections.abc import Mapping
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax import _interface, _products, _slots, addressing
from dnc_jax._checks import at_least
from dnc_jax.dnc import DNC

# δ: to read or write a slot with no more than this is not to access it.
ACCESSED = 0.005


def check_sparsity(sparsity: int, memory_size: int) -> int:
  """Returns K, or raises a ValueError where it is not from 1 to N."""
  at_least("sparsity", sparsity, 1)
  if sparsity > memory_size:
    raise ValueError(
      f"sparsity must be at most memory_size, {memory_size}, got {sparsity}: a "
      "head cannot read more slots than there are. Lower sparsity, or raise "
      "memory_size."
    )
  return sparsity


class SAMAccessState(NamedTuple):
  """State of `SAMAccess` after a step.

  Weights are kept with the slots that they are of; all others are 0. A slot
  comes up once for a read head. In the write it may come up more than once, and
  its weight is then their sum.

  Attributes:
    memory: Contents. Shape ``[B, N, W]``.
    squares: Squared length of each word, for look-ups. Shape ``[B, N]``.
    read_slots: Slots that each head read, int32. Shape ``[B, R, K]``.
    read_weights: How much, in [0, 1]. Shape ``[B, R, K]``.
    write_slots: Slots that were written, int32; the last is the one that was
      wiped. Shape ``[B, R·K + 1]``.
    write_weights: How much, in [0, 1]. Shape ``[B, R·K + 1]``.
    last_access: The step at which each slot was last accessed, from 1; 0 for
      never. int32, shape ``[B, N]``.
    step: Steps so far, int32. Shape ``[B]``.
  """

  memory: jax.Array  # [B, N, W]
  squares: jax.Array  # [B, N]
  read_slots: jax.Array  # [B, R, K]
  read_weights: jax.Array  # [B, R, K]
  write_slots: jax.Array  # [B, R·K + 1]
  write_weights: jax.Array  # [B, R·K + 1]
  last_access: jax.Array  # [B, N]
  step: jax.Array  # [B]


def layout(word_size: int, num_reads: int) -> dict[str, tuple[int, ...]]:
  """Returns name and shape of each quantity in the interface, in order."""
  return {
    "read_keys": (num_reads, word_size),
    "read_strengths": (num_reads,),
    "write_vector": (word_size,),
    "write_gate": (),
    "interpolation_gate": (),
  }


def initial_state(
  batch_size: int | None,
  *,
  memory_size: int,
  word_size: int,
  num_reads: int,
  sparsity: int,
) -> SAMAccessState:
  """Returns an empty memory that was never accessed: zeros."""
  batch = () if batch_size is None else (batch_size,)
  reads = (*batch, num_reads, sparsity)
  writes = (*batch, num_reads * sparsity + 1)
  # Weights of 0 may be anywhere; a head's slots must differ.
  slots = jnp.arange(sparsity, dtype=jnp.int32)
  return SAMAccessState(
    memory=jnp.zeros((*batch, memory_size, word_size)),
    squares=jnp.zeros((*batch, memory_size)),
    read_slots=jnp.broadcast_to(slots, reads),
    read_weights=jnp.zeros(reads),
    write_slots=jnp.zeros(writes, jnp.int32),
    write_weights=jnp.zeros(writes),
    last_access=jnp.zeros((*batch, memory_size), jnp.int32),
    step=jnp.zeros(batch, jnp.int32),
  )


def write(
  interface: Mapping[str, jax.Array], prev: SAMAccessState
) -> SAMAccessState:
  """Writes where the step before read, or to the least recently used slot.

  (Section 3.2, equations 3, 5 and 6; with 1ᵁ one at the least recently used
  slot, u, and w̄ʳ the mean over the read heads):

      wʷ = α (γ w̄ʳ_prev + (1 - γ) 1ᵁ)
      M[i] = (1 - 1ᵁ[i]) M_prev[i] + wʷ[i] a

  Args:
    interface: α, ``write_gate``, and γ, ``interpolation_gate``, in [0, 1], of
      shape ``[B]``; a, ``write_vector``, of shape ``[B, W]``.
    prev: State of the step before.

  Returns:
    That state with the new memory, squares and writes.
  """
  batch_size, num_reads, _ = prev.read_slots.shape
  least = jnp.argmin(prev.last_access, axis=-1).astype(jnp.int32)
  slots = jnp.concatenate(
    [prev.read_slots.reshape(batch_size, -1), least[:, None]], axis=-1
  )
  alpha = interface["write_gate"][:, None]
  gamma = interface["interpolation_gate"][:, None]
  again = gamma / num_reads * prev.read_weights.reshape(batch_size, -1)
  weights = alpha * jnp.concatenate([again, 1 - gamma], axis=-1)
  words = weights[..., None] * interface["write_vector"][:, None, :]
  memory = _slots.write(prev.memory, slots, words)
  # Only the words that were written have another length now.
  _, new = _slots.read(jax.lax.stop_gradient(memory), slots)
  batch = jnp.arange(batch_size)[:, None]
  squares = prev.squares.at[batch, slots].set(jnp.sum(new * new, axis=-1))
  return prev._replace(
    memory=memory,
    squares=jax.lax.stop_gradient(squares),
    write_slots=slots,
    write_weights=weights,
  )


def look_up(
  memory: jax.Array,
  squares: jax.Array,
  keys: jax.Array,
  count: int,
  *,
  approximate: bool = False,
) -> jax.Array:
  """Returns the slots whose words are most like each key, without a gradient.

  Args:
    memory: Contents. Shape ``[B, N, W]``.
    squares: Squared length of each word. Shape ``[B, N]``.
    keys: What to look for. Shape ``[B, R, W]``.
    count: K, how many for each key; at most N.
    approximate: Uses `jax.lax.approx_max_k`, which may miss some.

  Returns:
    Slots, the most alike first, int32. Shape ``[B, R, K]``.
  """
  memory, squares, keys = jax.lax.stop_gradient((memory, squares, keys))
  num_reads, num_slots = keys.shape[1], memory.shape[1]
  padded = _products.pad_heads(keys, num_slots)
  dots = jnp.einsum("brw,bnw->brn", padded, memory)[:, :num_reads]
  key_norms = jnp.sqrt(jnp.sum(keys * keys, axis=-1) + addressing.EPSILON)
  norms = jnp.sqrt(squares + addressing.EPSILON)[:, None, :]
  similarity = dots / (key_norms[..., None] * norms + addressing.EPSILON)
  if approximate:
    return jax.lax.approx_max_k(similarity, count)[1]
  return _slots.largest(similarity, count)


def content_weights(
  words: jax.Array, keys: jax.Array, strengths: jax.Array
) -> jax.Array:
  """Returns the look-up's weights over the slots that it chose (Section 3.1).

      c[s] = exp(β D(k, M[s])) / Σ_{s' chosen} exp(β D(k, M[s']))

  Args:
    words: Those of the slots that each head chose. Shape ``[B, R, K, W]``.
    keys: k. Shape ``[B, R, W]``.
    strengths: β, at least 0. Shape ``[B, R]``.

  Returns:
    Weightings that sum to 1 over the slots chosen. Shape ``[B, R, K]``.
  """
  batch_size, num_reads, count, word_size = words.shape
  weights = addressing.content_weights(
    words.reshape(-1, count, word_size),
    keys.reshape(-1, 1, word_size),
    strengths.reshape(-1, 1),
  )
  return weights.reshape(batch_size, num_reads, count)


def count_access(state: SAMAccessState) -> SAMAccessState:
  """Notes which slots were accessed at this step (Section 3.2).

  Those whose weights, Σᵣ wʳ + wʷ, are above δ = 0.005.
  """
  batch_size = state.step.shape[0]
  slots = jnp.concatenate(
    [state.read_slots.reshape(batch_size, -1), state.write_slots], axis=-1
  )
  weights = jnp.concatenate(
    [state.read_weights.reshape(batch_size, -1), state.write_weights], axis=-1
  )
  accessed = _slots.totals(slots, jax.lax.stop_gradient(weights)) > ACCESSED
  step = state.step + 1
  batch = jnp.arange(batch_size)[:, None]
  return state._replace(
    last_access=state.last_access.at[batch, slots].max(
      jnp.where(accessed, step[:, None], 0)
    ),
    step=step,
  )


class SAMAccess(hk.RNNCore):
  """Memory with sparse access.

  First one write, to the slots that the step before read, or to the one that
  was not accessed for longest, which is wiped; then each head looks a key up
  and reads the K slots that are most like it. `write`, `content_weights` and
  `count_access` have the equations.

  A step takes what the controller says, ``[B, hidden size]``, and gives the
  words read, ``[B, R, W]``. One linear layer named ``interface`` gives, in this
  order:

  | quantity | numbers | range | made by |
  | --- | --- | --- | --- |
  | keys k | R·W | any | |
  | strengths β | R | (0, ∞) | softplus |
  | write vector a | W | any | |
  | write gate α | 1 | [0, 1] | sigmoid |
  | interpolation gate γ | 1 | [0, 1] | sigmoid |

  A step costs O(N·W·R) to look up, without a gradient; for its backward pass it
  keeps O(K·R·W) numbers, whatever N.
  """

  def __init__(
    self,
    memory_size: int = 1024,
    word_size: int = 32,
    num_reads: int = 4,
    *,
    sparsity: int = 4,
    approximate: bool = False,
    name: str = "sam_access",
  ):
    """Makes a memory.

    Args:
      memory_size: N, slots, at least K. No parameter's shape depends on it.
      word_size: W, numbers in a slot, at least 1.
      num_reads: R, read heads, at least 1.
      sparsity: K, slots that a head reads, at least 1; the paper has 4 and 8.
      approximate: Looks up by `jax.lax.approx_max_k`, for accelerators; on
        others it is exact, too.
      name: Name of the module.

    Raises:
      ValueError: A size is out of its range.
    """
    super().__init__(name=name)
    self._memory_size = at_least("memory_size", memory_size, 1)
    self._word_size = at_least("word_size", word_size, 1)
    self._num_reads = at_least("num_reads", num_reads, 1)
    self._sparsity = check_sparsity(sparsity, memory_size)
    self._approximate = approximate

  @property
  def output_shape(self) -> tuple[int, int]:
    """Shape of the words read at a step, without the batch: ``(R, W)``."""
    return (self._num_reads, self._word_size)

  def __call__(
    self, inputs: jax.Array, prev_state: SAMAccessState
  ) -> tuple[jax.Array, SAMAccessState]:
    """Writes to the memory, then reads from it.

    Args:
      inputs: What the controller says. Shape ``[B, hidden size]``.
      prev_state: State of the step before.

    Returns:
      The words read, shape ``[B, R, W]``, and the new state.
    """
    interface = self.interface(inputs)
    state = write(interface, jax.tree.map(jnp.asarray, prev_state))
    keys = interface["read_keys"]
    slots = look_up(
      state.memory,
      state.squares,
      keys,
      self._sparsity,
      approximate=self._approximate,
    )
    memory, words = _slots.read(state.memory, slots.reshape(len(slots), -1))
    words = words.reshape(*slots.shape, -1)
    weights = content_weights(words, keys, interface["read_strengths"])
    state = state._replace(
      memory=memory, read_slots=slots, read_weights=weights
    )
    return jnp.einsum("brk,brkw->brw", weights, words), count_access(state)

  @hk.name_like("__call__")
  def interface(self, inputs: jax.Array) -> dict[str, jax.Array]:
    """Returns the quantities of the interface by name, each in its range.

    Args:
      inputs: What the controller says. Shape ``[B, hidden size]``.
    """
    return in_range(
      _interface.speak(inputs, layout(self._word_size, self._num_reads))
    )

  def initial_state(self, batch_size: int | None) -> SAMAccessState:
    """Returns an empty memory that was never accessed: zeros."""
    return initial_state(
      batch_size,
      memory_size=self._memory_size,
      word_size=self._word_size,
      num_reads=self._num_reads,
      sparsity=self._sparsity,
    )


def in_range(parts: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
  """Returns the interface's quantities, each in its range."""
  ranged = dict(parts)
  ranged["read_strengths"] = jax.nn.softplus(parts["read_strengths"])
  for name in ("write_gate", "interpolation_gate"):
    ranged[name] = jax.nn.sigmoid(parts[name])
  return ranged


class SAM(DNC):
  """A network with sparse access memory: a `DNC` around a `SAMAccess`.

  Made and called as a DNC is, with the same `dnc.DNCState`. Its memory, if none
  is given, has 1,024 slots of 32 numbers; its name, if none is given, is
  ``sam``.
  """

  _default_access = SAMAccess
