"""Dense temporal links, computed and differentiated as a CPU is fast at.

A step's links are N² numbers for each sequence and write head, and what a step
of training costs at many slots is mostly how often it goes through them, and
how far away they are by then: docs/performance.md. So a step is one function,
whose gradient is written out, and where links are large it goes through one
matrix at a time. As in `_products`, forward mode is refused.

Shapes: B sequences in the batch, H write heads, R read heads, N slots.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from dnc_jax import _products

# What `jax.checkpoint` policies know directional weights by.
DIRECTIONS = "directional_weights"

# Numbers in all matrices together, from which on each is done with before the
# next. They then go through a processor's second cache and not its third.
_FEWEST_NUMBERS_APART = 2**18

_Arrays = tuple[jax.Array, ...]


def link(
  prev_link: jax.Array,
  prev_precedence_weights: jax.Array,
  write_weights: jax.Array,
) -> jax.Array:
  """Returns what `addressing.link` does, of any leading axes.

  Previous links may be stored in fewer bits than the weights have.
  """
  return _after(
    prev_link, *_products.settled(prev_precedence_weights, write_weights)
  )


def lead(link: jax.Array, heads: jax.Array) -> _Arrays:
  """Returns where links lead from what was read, forward and backward.

  Args:
    link: Shape ``[..., N, N]``.
    heads: Read weights of the step before. Shape ``[..., R, N]``.

  Returns:
    L wʳ and Lᵀ wʳ, each of shape ``[..., R, N]``.
  """
  return (
    jnp.einsum("...ij,...rj->...ri", link, heads),
    jnp.einsum("...ri,...ij->...rj", heads, link),
  )


def step(
  prev_link: jax.Array,
  prev_precedence_weights: jax.Array,
  write_weights: jax.Array,
  prev_read_weights: jax.Array,
  *,
  stop_gradient: bool = False,
) -> _Arrays:
  """Returns the links after a step's writes, and where they lead.

  Args:
    prev_link: Shape ``[B, H, N, N]``.
    prev_precedence_weights: Shape ``[B, H, N]``.
    write_weights: Shape ``[B, H, N]``.
    prev_read_weights: Shape ``[B, R, N]``.
    stop_gradient: Lets no gradient through the links.

  Returns:
    Links, ``[B, H, N, N]``, and directional weights, forward and backward, each
    ``[B, R, H, N]``.
  """
  *leading, num_slots = write_weights.shape
  heads = jnp.repeat(prev_read_weights[:, None], leading[1], axis=1)
  function = _step_without_gradient if stop_gradient else _step
  flat = [
    x.reshape(-1, *x.shape[2:])
    for x in (prev_link, prev_precedence_weights, write_weights, heads)
  ]
  new, forward, backward = function(*flat)
  directions = [
    jnp.swapaxes(x.reshape(*leading, -1, num_slots), 1, 2)
    for x in checkpoint_name((forward, backward), DIRECTIONS)
  ]
  return new.reshape(prev_link.shape), *directions


def _forward(
  prev_link: jax.Array,
  prev_precedence_weights: jax.Array,
  write_weights: jax.Array,
  heads: jax.Array,
) -> _Arrays:
  new = link(prev_link, prev_precedence_weights, write_weights)
  return new.astype(prev_link.dtype), *lead(new, heads)


def _backward(
  prev_link: jax.Array,
  prev_precedence_weights: jax.Array,
  write_weights: jax.Array,
  heads: jax.Array,
  of_link: jax.Array,
  of_forward: jax.Array,
  of_backward: jax.Array,
) -> _Arrays:
  """Returns the gradients of the first four, given those of the results."""
  before, now = _products.settled(prev_precedence_weights, write_weights)
  new = _after(prev_link, before, now)
  of_heads = _of_heads(new, of_forward, of_backward)
  of_link = of_link.astype(now.dtype) + _products.turned_outer(
    jnp.concatenate([of_forward, heads], axis=-2),
    jnp.concatenate([heads, of_backward], axis=-2),
  )
  of_link = jnp.where(_off_diagonal(now.shape[-1]), of_link, 0)
  change = of_link * prev_link  # Of each factor 1 - w[i] - w[j].
  ones = jnp.ones_like(now)
  of_write_weights = (
    _times(of_link, before) - _times(change, ones) - _times_turned(change, ones)
  )
  of_precedence_weights = _times_turned(of_link, now)
  of_prev_link = (_kept(now) * of_link).astype(prev_link.dtype)
  return of_prev_link, of_precedence_weights, of_write_weights, of_heads


def _apart(function: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a function of matrices that does large ones one after another.

  Not over a mesh, where devices would wait for each other at every one.
  """

  def together(*arrays: jax.Array) -> Any:
    is_small = arrays[0].size < _FEWEST_NUMBERS_APART or len(arrays[0]) == 1
    if is_small or not jax.sharding.get_abstract_mesh().empty:
      return function(*arrays)
    return jax.lax.platform_dependent(
      *arrays,
      cpu=lambda *x: jax.lax.map(lambda one: function(*one), x),
      default=function,
    )

  return together


_forward_apart = _apart(_forward)
_backward_apart = _apart(_backward)
_step = jax.custom_vjp(_forward_apart)
_step.defvjp(
  lambda *x: (_forward_apart(*x), x),
  lambda operands, gradients: _backward_apart(*operands, *gradients),
)


def _backward_of_heads(
  prev_link: jax.Array,
  prev_precedence_weights: jax.Array,
  write_weights: jax.Array,
  of_forward: jax.Array,
  of_backward: jax.Array,
) -> jax.Array:
  new = link(prev_link, prev_precedence_weights, write_weights)
  return _of_heads(new, of_forward, of_backward)


_backward_of_heads_apart = _apart(_backward_of_heads)
_step_of_heads = jax.custom_vjp(_forward_apart)
_step_of_heads.defvjp(
  lambda *x: (_forward_apart(*x), x[:3]),
  lambda operands, gradients: (
    *(None, None, None),
    _backward_of_heads_apart(*operands, *gradients[1:]),
  ),
)


def _step_without_gradient(*operands: jax.Array) -> _Arrays:
  *fixed, heads = operands
  new, *directions = _step_of_heads(*map(jax.lax.stop_gradient, fixed), heads)
  return jax.lax.stop_gradient(new), *directions


def _of_heads(
  link: jax.Array, of_forward: jax.Array, of_backward: jax.Array
) -> jax.Array:
  """Returns the gradient of the read weights that `lead` was given."""
  return jnp.einsum("...ri,...ij->...rj", of_forward, link) + jnp.einsum(
    "...ij,...rj->...ri", link, of_backward
  )


def _after(
  prev_link: jax.Array, before: jax.Array, now: jax.Array
) -> jax.Array:
  """Returns `link`, of precedence and write weights that are settled."""
  kept = _kept(now) * prev_link.astype(now.dtype)
  new = kept + now[..., :, None] * before[..., None, :]
  return jnp.where(_off_diagonal(now.shape[-1]), new, 0)


def _kept(write_weights: jax.Array) -> jax.Array:
  """Returns 1 - w[i] - w[j] for each head, ``[..., N, N]``."""
  return (1 - write_weights)[..., :, None] - write_weights[..., None, :]


def _off_diagonal(num_slots: int) -> jax.Array:
  """Returns where two slots differ, ``[N, N]``."""
  slots = jnp.arange(num_slots)
  return slots[:, None] != slots[None, :]


def _times(matrix: jax.Array, vector: jax.Array) -> jax.Array:
  """Returns each matrix, ``[..., N, N]``, times its vector, ``[..., N]``."""
  return jnp.einsum("...ij,...j->...i", matrix, vector)


def _times_turned(matrix: jax.Array, vector: jax.Array) -> jax.Array:
  """Returns the transpose of each matrix times its vector."""
  return jnp.einsum("...ij,...i->...j", matrix, vector)
