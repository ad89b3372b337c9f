"""Allocation weights: two ways to the paper's, and one without an order."""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

# What `jax.checkpoint` policies know the order of the slots by.
ORDER = "allocation_order"

# Comparing each slot with each other is faster than sorting until there are
# this many: measured with forward and backward on a CPU, docs/performance.md.
MOST_SLOTS_COMPARED = 192


def by_comparison(usage: jax.Array) -> jax.Array:
  """Allocation of O(N²) comparisons, for usage in [ε, 1] of shape [B, N]."""
  slots = jnp.arange(usage.shape[1])
  earlier = slots[None, :] < slots[:, None]  # [N, N]: j is before i.
  log_usage = jnp.log(usage)
  # Comparing logarithms gives the same order, and XLA computes them once, where
  # it would compute the usage again for each pair of slots.
  ours = jax.lax.stop_gradient(log_usage)[:, :, None]
  others = jax.lax.stop_gradient(log_usage)[:, None, :]
  before = (others < ours) | ((others == ours) & earlier[None])  # [B, N, N]
  logs = jnp.where(before, log_usage[:, None, :], 0).sum(axis=-1)
  return (1 - usage) * jnp.exp(logs)


def by_sorting(usage: jax.Array) -> jax.Array:
  """Allocation by one stable sort, for usage in [ε, 1] of shape [B, N]."""
  batch_size, num_slots = usage.shape
  order = jnp.argsort(jax.lax.stop_gradient(usage), axis=-1, stable=True)
  # A name by which rematerialisation can keep it rather than sort again.
  order = checkpoint_name(order, ORDER)
  rows = jnp.arange(batch_size)[:, None]
  in_order = usage[rows, order]
  logs = jnp.cumsum(jnp.log(in_order), axis=-1)
  before = jnp.concatenate(
    [jnp.zeros_like(logs[:, :1]), logs[:, : num_slots - 1]], axis=-1
  )
  weights = (1 - in_order) * jnp.exp(before)
  # Scattering undoes the sort without a second one.
  return jnp.zeros_like(usage).at[rows, order].set(weights, unique_indices=True)


def by_softmax(usage: jax.Array, strengths: jax.Array) -> jax.Array:
  """Allocation of no order, for usage of shape [B, N], strengths of [B].

  a[i] = exp(s (1 - u[i])) / Σⱼ exp(s (1 - u[j])), which sums to 1 even where
  every slot is fully used.
  """
  return jax.nn.softmax(strengths[:, None] * (1 - usage), axis=-1)
