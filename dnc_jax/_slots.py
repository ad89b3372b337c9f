"""Choosing, reading and writing a few slots of many, at their cost alone.

Shapes: B sequences in the batch, N slots, W numbers in a slot, S slots chosen.
"""

import jax
import jax.numpy as jnp

# Slots of which only the largest is looked at first, where there are many.
_BLOCK = 128
_FEWEST_SLOTS_IN_BLOCKS = 4096


def largest(scores: jax.Array, count: int) -> jax.Array:
  """Returns where the largest scores are, as `jax.lax.top_k` does.

  That scans a row with a heap. Where rows are long this looks at the largest of
  each block of slots first, and then into the blocks that can hold what is
  looked for: the same answer, ties too, some ten times faster on a CPU.

  Args:
    scores: Shape ``[..., N]``.
    count: K, how many; at most N.

  Returns:
    Slots, the largest score first, of equal ones the first slot first; int32
    without a gradient. Shape ``[..., K]``.
  """
  scores = jax.lax.stop_gradient(scores)
  num_slots = scores.shape[-1]
  if num_slots < max(_FEWEST_SLOTS_IN_BLOCKS, _BLOCK * count):
    return jax.lax.top_k(scores, count)[1]
  padding = [(0, 0)] * (scores.ndim - 1) + [(0, -num_slots % _BLOCK)]
  scores = jnp.pad(scores, padding, constant_values=-jnp.inf)
  blocks = scores.reshape(*scores.shape[:-1], -1, _BLOCK)
  # In order, so that of equal scores the first slot still comes first.
  chosen = jnp.sort(jax.lax.top_k(blocks.max(axis=-1), count)[1], axis=-1)
  inside = jnp.take_along_axis(blocks, chosen[..., None], axis=-2)
  inside = inside.reshape(*scores.shape[:-1], -1)
  _, places = jax.lax.top_k(inside, count)
  block = jnp.take_along_axis(chosen, places // _BLOCK, axis=-1)
  return block * _BLOCK + places % _BLOCK


def totals(slots: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns for each entry what all entries of the same slot weigh together.

  >>> totals(jnp.array([[3, 1, 3]]), jnp.array([[0.5, 0.25, 0.25]]))
  Array([[0.75, 0.25, 0.75]], dtype=float32)

  Args:
    slots: May come up more than once. Shape ``[..., S]``.
    weights: Shape ``[..., S]``.

  Returns:
    Shape ``[..., S]``.
  """
  same = slots[..., :, None] == slots[..., None, :]
  return jnp.sum(jnp.where(same, weights[..., None, :], 0), axis=-1)


def distinct(slots: jax.Array) -> jax.Array:
  """Returns whether an entry is the first of its slot: shape ``[..., S]``.

  >>> distinct(jnp.array([[3, 1, 3]]))
  Array([[ True,  True, False]], dtype=bool)
  """
  same = slots[..., :, None] == slots[..., None, :]
  return ~jnp.any(jnp.tril(same, k=-1), axis=-1)


@jax.custom_vjp
def read(memory: jax.Array, slots: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the memory and the words of some slots.

  The memory is handed on, so that a step can use it once: its gradient is then
  one array into which the gradients of the words are added where they belong.
  Indexing would make an array of zeros of the memory's size for them first.

  Args:
    memory: Shape ``[B, N, W]``.
    slots: May come up more than once. Shape ``[B, S]``.

  Returns:
    The memory as it is, and words ``[B, S, W]``.
  """
  return memory, jnp.asarray(memory)[_batch(slots), slots]


def _read_forward(
  memory: jax.Array, slots: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
  return read(memory, slots), slots


def _read_backward(
  slots: jax.Array, gradients: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, None]:
  of_memory, of_words = gradients
  return of_memory.at[_batch(slots), slots].add(of_words), None


read.defvjp(_read_forward, _read_backward)


@jax.custom_vjp
def write(memory: jax.Array, slots: jax.Array, words: jax.Array) -> jax.Array:
  """Returns the memory with its last slot named wiped, and then words added.

  Args:
    memory: Shape ``[B, N, W]``.
    slots: May come up more than once: all is added. Shape ``[B, S]``.
    words: Shape ``[B, S, W]``.

  Returns:
    Shape ``[B, N, W]``.
  """
  batch = _batch(slots)
  memory = (
    jnp.asarray(memory).at[batch, slots[:, -1:]].set(0, unique_indices=True)
  )
  return memory.at[batch, slots].add(words)


def _write_forward(
  memory: jax.Array, slots: jax.Array, words: jax.Array
) -> tuple[jax.Array, jax.Array]:
  return write(memory, slots, words), slots


def _write_backward(
  slots: jax.Array, gradient: jax.Array
) -> tuple[jax.Array, None, jax.Array]:
  batch = _batch(slots)
  of_words = gradient[batch, slots]
  # All are set, though one has changed: so XLA sees that they are read first,
  # and need not copy the whole to be safe.
  wiped = (slots == slots[:, -1:])[..., None]
  of_memory = gradient.at[batch, slots].set(jnp.where(wiped, 0, of_words))
  return of_memory, None, of_words


write.defvjp(_write_forward, _write_backward)


def _batch(slots: jax.Array) -> jax.Array:
  """Returns the sequence that each entry of ``[B, S]`` is of: ``[B, 1]``."""
  return jnp.arange(slots.shape[0], dtype=slots.dtype)[:, None]
