"""Products written as XLA's CPU backend is fast at: docs/performance.md."""

import jax
import jax.numpy as jnp

# From so many slots on, single heads are padded.
_FEWEST_SLOTS_PADDED = 128


def pad_heads(x: jax.Array, num_slots: int) -> jax.Array:
  """Adds a head of zeros to a single one, where there are many slots.

  XLA's CPU backend turns matrix products over one head into elementwise loops,
  for many slots slower with their gradients than products over two.

  Args:
    x: What each head has. Shape ``[B, H, ...]``.
    num_slots: N, slots that the product goes over.

  Returns:
    Shape ``[B, H, ...]``, or ``[B, 2, ...]`` where padded.
  """
  if x.shape[1] > 1 or num_slots < _FEWEST_SLOTS_PADDED:
    return x
  return jnp.concatenate([x, 0 * x], axis=1)


def outer(rows: list[jax.Array], columns: list[jax.Array]) -> jax.Array:
  """Returns the sum of outer products, Σₖ rows[k][i] columns[k][j].

  Args:
    rows: K arrays of shape ``[..., I]``.
    columns: K arrays of shape ``[..., J]``.

  Returns:
    Shape ``[..., I, J]``.
  """
  return jnp.einsum(
    "...ki,...kj->...ij", jnp.stack(rows, axis=-2), jnp.stack(columns, axis=-2)
  )
