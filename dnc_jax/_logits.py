"""What the cores that answer with logits have in common."""

import functools
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax._checks import at_least, clip_bound


class ToLogits(hk.RNNCore):
  """A core whose values may be bounded; see `DNC`."""

  def __init__(
    self, output_size: int, clip_value: float | None, name: str | None
  ):
    """Checks and keeps what all of them are given."""
    super().__init__(name=name)
    self._output_size = at_least("output_size", output_size, 1)
    self._clip_value = clip_bound(clip_value)

  def _clip(self, x: jax.Array) -> jax.Array:
    if self._clip_value is None:
      return x
    return clip(x, self._clip_value)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def clip(x: jax.Array, bound: float) -> jax.Array:
  """Clips as TensorFlow does, whose gradient goes through on the bounds, too.

  That of `jnp.clip` keeps four arrays, this one a mask.
  """
  return jnp.clip(x, -bound, bound)


def _clip_forward(bound: float, primals: Any, tangents: Any) -> Any:
  (x,), (tangent,) = primals, tangents
  # What is not a number is not beyond, and must not be lost.
  return clip(x, bound), jnp.where(jnp.abs(x) > bound, 0, tangent)


clip.defjvp(_clip_forward)
