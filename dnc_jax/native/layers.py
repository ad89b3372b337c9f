"""Gradients of layers' parameters, of all steps of a sequence at once.

They are sums over the steps of a sequence:

    ∂W = Σₜ xₜᵀ ∂yₜ    ∂b = Σₜ ∂yₜ

The backward pass of a scan adds them up step by step: for each a small product,
and a way through all weights to add it. Here a step hands out what a layer
heard, x, and what its answer is found to be worth, ∂y, and after the scan one
product over all steps does the rest: fewer operations, and larger ones.

∂y is the gradient of a tap: zeros that are, on paper, added to what a layer
says. What was heard comes to its place as a tape does, in place of a gradient:
that of zeros that nothing reads.

Shapes: T steps, B sequences, I inputs of a layer, O outputs.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
from jax import ad_checkpoint

from dnc_jax import _linear

# What `jax.checkpoint` knows answers by.
ANSWERS = "dnc_jax_answers"

# By name of the layer.
Arrays = Mapping[str, jax.Array]

_Shape = tuple[int, int]


class Taps(NamedTuple):
  """What gathers gradients of layers, by their names.

  Attributes:
    answers: Zeros, whose gradient is that of the answers. ``[T, B, O]`` each.
    heard: Zeros, in place of whose gradient is what was heard. ``[T, B, I]``
      each.
  """

  answers: Arrays
  heard: Arrays


def make_taps(
  layers: Mapping[str, hk.Linear], num_steps: int, batch_size: int
) -> Taps:
  """Returns taps that give layers' parameters their gradients."""
  answers, heard = {}, {}
  for name, layer in layers.items():
    answers[name], heard[name] = _make_tap(
      (num_steps, batch_size), *_linear.parameters(layer)
    )
  return Taps(answers, heard)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _make_tap(
  shape: _Shape, weights: jax.Array, bias: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  del bias
  num_inputs, num_outputs = weights.shape
  return jnp.zeros([*shape, num_outputs]), jnp.zeros([*shape, num_inputs])


def _tap_backward(
  shape: _Shape, has_bias: Any, of: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array | None]:
  del shape
  of_answers, heard = (x.reshape(-1, x.shape[-1]) for x in of)
  of_bias = None if has_bias is None else of_answers.sum(axis=0)
  return _linear.of_weights(heard, of_answers), of_bias


_make_tap.defvjp(
  lambda shape, weights, bias: (_make_tap(shape, weights, bias), bias),
  _tap_backward,
)


def answer(
  inputs: jax.Array,
  parameters: tuple[jax.Array, jax.Array | None],
  tap: jax.Array,
) -> jax.Array:
  """Returns what a layer says, whose parameters get no gradient but its tap.

  Args:
    inputs: Shape ``[B, I]``.
    parameters: Weights ``[I, O]``, and the bias if there is one.
    tap: Of this step, of `Taps.answers`. Shape ``[B, O]``.
  """
  weights, bias = parameters
  outputs = _linear.add_bias(_product(inputs, weights, tap), bias)
  return ad_checkpoint.checkpoint_name(outputs, ANSWERS)


@jax.custom_vjp
def _product(
  inputs: jax.Array, weights: jax.Array, tap: jax.Array
) -> jax.Array:
  del tap
  return _linear.forward(inputs, weights)


_product.defvjp(
  lambda inputs, weights, tap: (_product(inputs, weights, tap), weights),
  lambda weights, gradient: (
    _linear.of_inputs(weights, gradient),
    None,
    gradient,
  ),
)
