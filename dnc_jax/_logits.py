"""What the cores that answer with logits have in common."""

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
    return jnp.clip(x, -self._clip_value, self._clip_value)
