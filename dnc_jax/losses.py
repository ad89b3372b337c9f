"""Losses and accuracies over batches of sequences that differ in length.

Shapes: T steps, B sequences in the batch, O numbers in a step's output. A mask
``[T, B]`` is 1 on the steps that are scored and 0 elsewhere, so padding and
steps without a target count for nothing.
"""

from typing import NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

Array = jax.Array | np.ndarray


class Batch(NamedTuple):
  """Sequences to learn from or to be tested on, padded to one length.

  Attributes:
    inputs: What the network hears. Shape ``[T, B, I]``.
    targets: What it should answer. Shape ``[T, B, O]``.
    mask: 1 on the steps that are scored, else 0. Shape ``[T, B]``.
    lesson: Lesson of the curriculum that each sequence is of, 0 where there is
      but one. Shape ``[B]``, int32.
  """

  inputs: Array  # [T, B, I]
  targets: Array  # [T, B, O]
  mask: Array  # [T, B]
  lesson: Array  # [B]


class Scores(NamedTuple):
  """How well a batch was answered.

  Attributes:
    loss: What training makes small. Shape ``[]``.
    right: Units (bits, or whole vectors) answered right. Shape ``[B]``.
    count: Units scored. Shape ``[B]``.
  """

  loss: jax.Array
  right: jax.Array
  count: jax.Array


class Objective(Protocol):
  """A way to score logits against targets."""

  def __call__(self, logits: Array, targets: Array, mask: Array) -> Scores:
    """Returns the scores of logits ``[T, B, O]``."""
    ...


def bits(
  logits: Array, targets: Array, mask: Array, *, time_average: bool = False
) -> Scores:
  """Scores outputs that are independent bits.

  The loss is DeepMind's: sigmoid cross-entropy summed over bits and over the
  scored steps, averaged over the batch. A unit is one bit.

      loss = 1/B Σₜ Σ_b mask[t, b] Σₒ H(target[t, b, o], σ(logit[t, b, o]))

  Args:
    logits: Shape ``[T, B, O]``.
    targets: Bits, 0 or 1. Shape ``[T, B, O]``.
    mask: 1 on the steps that are scored. Shape ``[T, B]``.
    time_average: Divides each sequence's loss by its number of scored steps.

  Returns:
    The loss in nats, and right bits of all scored.
  """
  chex.assert_equal_shape([logits, targets])
  chex.assert_shape(mask, targets.shape[:2])
  logits, targets, mask = (jnp.asarray(x) for x in (logits, targets, mask))
  errors = optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)
  per_sequence = (errors * mask).sum(axis=0)
  if time_average:
    per_sequence /= jnp.maximum(mask.sum(axis=0), 1)
  right = ((logits > 0) == (targets > 0.5)).sum(axis=-1)
  return Scores(
    loss=per_sequence.mean(),
    right=(right * mask).sum(axis=0),
    count=(mask * targets.shape[-1]).sum(axis=0),
  )


def digits(
  logits: Array, targets: Array, mask: Array, *, base: int = 10
) -> Scores:
  """Scores outputs that are several digits, each a softmax of its own.

  The paper's loss for graphs (Methods, "Graph task descriptions") but averaged
  over the scored steps of the batch, so that lessons with longer answers are
  of the same scale:

      loss = Σₜ mask[t] Σ_d -log softmax(logits[t, d])[digit] / Σₜ mask[t]

  A unit is one step's whole vector: all its digits right, by argmax.

  Args:
    logits: Shape ``[T, B, D * base]``.
    targets: Each digit as a one-hot. Shape ``[T, B, D * base]``.
    mask: 1 on the steps that are scored. Shape ``[T, B]``.
    base: Values that a digit can take.

  Returns:
    The loss in nats a vector, and right vectors of all scored.
  """
  chex.assert_equal_shape([logits, targets])
  chex.assert_shape(mask, targets.shape[:2])
  logits, targets, mask = (jnp.asarray(x) for x in (logits, targets, mask))
  shape = (*mask.shape, logits.shape[-1] // base, base)
  logits, targets = logits.reshape(shape), targets.reshape(shape)
  errors = -(targets * jax.nn.log_softmax(logits)).sum(axis=(-1, -2))
  right = (logits.argmax(axis=-1) == targets.argmax(axis=-1)).all(axis=-1)
  return Scores(
    loss=(errors * mask).sum() / jnp.maximum(mask.sum(), 1),
    right=(right * mask).sum(axis=0),
    count=mask.sum(axis=0),
  )
