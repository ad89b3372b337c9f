"""Making weights over slots sharper, for heads that move along them.

A head that moves by shifts or links from weights that are not quite sharp
spreads with each step, unless what it comes to is made sharp again.

Shapes: N slots.
"""

import jax
import jax.numpy as jnp

# Keeps the logarithm of a weight of zero finite.
_TINY = 1e-12


def sharpen(weights: jax.Array, sharpness: jax.Array) -> jax.Array:
  """Returns weights made sharper, as a distribution.

  (Graves, Wayne & Danihelka, "Neural Turing Machines", 2014, equation 9):

      w'[i] = w[i]^γ / Σⱼ w[j]^γ

  Computed by way of logarithms, so that no sum of powers underflows to zero.

  >>> sharp = sharpen(jnp.array([0.75, 0.25]), jnp.array(2.0))
  >>> [f"{weight:.2f}" for weight in sharp]
  ['0.90', '0.10']

  Args:
    weights: In [0, 1]. Shape ``[..., N]``.
    sharpness: γ, at least 1. Shape ``[...]``.

  Returns:
    Weights that sum to 1 over the slots; even where all are 0. Shape
    ``[..., N]``.
  """
  # Links, which are sums and differences, can be a little below zero.
  logs = jnp.log(jax.nn.relu(weights) + _TINY)
  return jax.nn.softmax(sharpness[..., None] * logs, axis=-1)


def sharpen_links(weights: jax.Array, sharpness: jax.Array) -> jax.Array:
  """Returns directional weights made sharper, with the same sum.

  Csordás & Schmidhuber, "Improving Differentiable Neural Computers Through
  Memory Masking, De-allocation, and Link Distribution Sharpness Control" (ICLR
  2019), section 3.3, where the sum becomes 1. Here it stays what it was: where
  no link leads on, none is made up.

  >>> sharp = sharpen_links(jnp.array([0.375, 0.125, 0.0]), jnp.array(2.0))
  >>> [f"{weight:.2f}" for weight in sharp]
  ['0.45', '0.05', '0.00']

  Args:
    weights: What `addressing.directional_weights` gives. Shape ``[..., N]``.
    sharpness: At least 1, which leaves them as they are. Shape ``[...]``.

  Returns:
    Weights in [0, 1]. Shape ``[..., N]``.
  """
  return weights.sum(axis=-1, keepdims=True) * sharpen(weights, sharpness)
