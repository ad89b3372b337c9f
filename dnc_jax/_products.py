"""Products written as XLA's CPU backend is fast at: docs/performance.md.

It is fast at matrix products whose left operand is summed over its last axis,
and several times slower where that is the axis before, as JAX's own gradients
have it. So gradients are written out here, in forms that are fast. The price is
forward-mode differentiation (`jax.jvp` of a network), which JAX refuses for
such functions; forward mode over reverse, as in `jax.hessian`, works.
"""

import jax
import jax.numpy as jnp

_OUTER = "...ki,...kj->...ij"
_DOTS = "...hw,...nw->...hn"
_WEIGHTED_SUMS = "...rn,...nw->...rw"

# From so many slots on, single heads are padded.
_FEWEST_SLOTS_PADDED = 128

# From so many slots on, small operands of large loops are settled.
_FEWEST_SLOTS_SETTLED = 32


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


def settled(*vectors: jax.Array) -> tuple[jax.Array, ...]:
  """Returns the vectors as they are, each in memory, where that is faster.

  A large loop that broadcasts a small array has its elements computed again for
  each of the large one's, from slices of the whole sequence if need be, since
  XLA's CPU backend pulls what makes it into the loop; and such a loop does not
  use the processor's vectors. A matrix product it does not pull in, nor does it
  see through that with 1 on the diagonal.

  Args:
    *vectors: At least two, of one shape ``[..., N]``.
  """
  if vectors[0].shape[-1] < _FEWEST_SLOTS_SETTLED:
    return vectors

  def product(*vectors: jax.Array) -> tuple[jax.Array, ...]:
    together = jnp.stack(vectors, axis=-2)
    one = jnp.eye(len(vectors), dtype=together.dtype)
    # One for each of the batch, or policies would keep the product.
    one = jnp.broadcast_to(one, (*together.shape[:-2], *one.shape))
    together = jnp.einsum("...lk,...kn->...ln", one, together)
    return tuple(together[..., k, :] for k in range(len(vectors)))

  return jax.lax.platform_dependent(*vectors, cpu=product, default=lambda *x: x)


@jax.custom_vjp
def outer(rows: jax.Array, columns: jax.Array) -> jax.Array:
  """Returns the sum of outer products, Σₖ rows[k][i] columns[k][j].

  Args:
    rows: Shape ``[..., K, I]``.
    columns: Shape ``[..., K, J]``.

  Returns:
    Shape ``[..., I, J]``.
  """
  return jnp.einsum(_OUTER, rows, columns)


@jax.custom_vjp
def dots(keys: jax.Array, words: jax.Array) -> jax.Array:
  """Returns the inner product of each key with each word.

  Args:
    keys: Shape ``[..., H, W]``.
    words: Shape ``[..., N, W]``.

  Returns:
    Shape ``[..., H, N]``.
  """
  return jnp.einsum(_DOTS, keys, words)


@jax.custom_vjp
def weighted_sums(weights: jax.Array, words: jax.Array) -> jax.Array:
  """Returns the sum of words that each weighting names.

  Args:
    weights: Shape ``[..., R, N]``.
    words: Shape ``[..., N, W]``.

  Returns:
    Shape ``[..., R, W]``.
  """
  return jnp.einsum(_WEIGHTED_SUMS, weights, words)


_Pair = tuple[jax.Array, jax.Array]


def _outer_backward(operands: _Pair, gradient: jax.Array) -> _Pair:
  rows, columns = operands
  of_rows = jnp.einsum("...kj,...ij->...ki", columns, gradient)
  of_columns = jnp.einsum("...ki,...ij->...kj", rows, gradient)
  return of_rows.astype(rows.dtype), of_columns.astype(columns.dtype)


def _dots_backward(operands: _Pair, gradient: jax.Array) -> _Pair:
  keys, words = operands
  of_keys = jnp.einsum("...hn,...nw->...hw", gradient, words)
  of_words = turned_outer(gradient, keys)
  return of_keys.astype(keys.dtype), of_words.astype(words.dtype)


def _weighted_sums_backward(operands: _Pair, gradient: jax.Array) -> _Pair:
  weights, words = operands
  of_weights = jnp.einsum("...rw,...nw->...rn", gradient, words)
  of_words = turned_outer(weights, gradient)
  return of_weights.astype(weights.dtype), of_words.astype(words.dtype)


def turned_outer(rows: jax.Array, columns: jax.Array) -> jax.Array:
  """Returns what `outer` does, having turned the rows in memory first.

  It has no gradient of its own.
  """
  # Without a barrier XLA would make one product of both again.
  turned = jax.lax.optimization_barrier(jnp.swapaxes(rows, -1, -2))
  return jnp.einsum("...ik,...kj->...ij", turned, columns)


# What runs forward is the plain product and not the function itself, so that
# these gradients can be differentiated forward.
outer.defvjp(lambda *x: (jnp.einsum(_OUTER, *x), x), _outer_backward)
dots.defvjp(lambda *x: (jnp.einsum(_DOTS, *x), x), _dots_backward)
weighted_sums.defvjp(
  lambda *x: (jnp.einsum(_WEIGHTED_SUMS, *x), x), _weighted_sums_backward
)
