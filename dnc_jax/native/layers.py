"""Gradients of layers' parameters, of all steps of a sequence at once.

They are sums over the steps of a sequence:

    ∂W = Σₜ xₜᵀ ∂yₜ    ∂b = Σₜ ∂yₜ

The backward pass of a scan adds them up step by step: for each a small product,
and a way through all weights to add it. Here a step writes down what a layer
heard, x, and its gradient what the answer is found to be worth, ∂y, and after
the scan one product over all steps does the rest: fewer operations, and larger
ones. They write as kernels do on a `Tape`, where it lies and in place of its
gradient; so nothing is stacked, for which JAX would first write zeros.

Shapes: T steps, B sequences, or as many rows as a layer's inputs have, I inputs
of a layer, O outputs.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
from jax import ad_checkpoint

from dnc_jax import _linear
from dnc_jax.native import library

# What `jax.checkpoint` knows answers by.
ANSWERS = "dnc_jax_answers"


class Parameters(NamedTuple):
  """A layer's parameters.

  Attributes:
    weights: Shape ``[I, O]``.
    bias: Shape ``[O]``; None without.
  """

  weights: jax.Array
  bias: jax.Array | None


class Notes(NamedTuple):
  """What is written down of a layer's steps.

  Attributes:
    heard: Its inputs. Shape ``[T, B, I]``.
    of_answers: Gradients of its outputs. Shape ``[T, B, O]``.
  """

  heard: jax.Array
  of_answers: jax.Array


class Layer(NamedTuple):
  """A linear layer that a step calls.

  Attributes:
    name: Its module's.
    module: Itself.
    batch_size: B, rows of its inputs.
    can_be_noted: Whether what it hears can be.
  """

  name: str
  module: hk.Linear
  batch_size: int
  can_be_noted: bool

  def parameters(self) -> Parameters:
    """Returns its parameters."""
    return Parameters(*_linear.parameters(self.module))


def begin(layers: Mapping[str, Layer], num_steps: int) -> dict[str, Notes]:
  """Returns room for notes of each layer, which give it its gradients."""
  return {
    name: _begin((num_steps, layer.batch_size), layer.parameters())
    for name, layer in layers.items()
  }


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _begin(shape: tuple[int, int], own: Parameters) -> Notes:
  num_inputs, num_outputs = own.weights.shape
  return Notes(
    *library.room(
      jax.ShapeDtypeStruct((*shape, num_inputs), jnp.float32),
      jax.ShapeDtypeStruct((*shape, num_outputs), jnp.float32),
    )
  )


def _begin_forward(
  shape: tuple[int, int], own: Parameters
) -> tuple[Notes, jax.Array | None]:
  return _begin(shape, own), own.bias


def _begin_backward(
  shape: tuple[int, int], bias: jax.Array | None, notes: Notes
) -> tuple[Parameters]:
  del shape
  heard, of_answers = (x.reshape(-1, x.shape[-1]) for x in notes)
  of_bias = None if bias is None else of_answers.sum(axis=0)
  return (Parameters(_linear.of_weights(heard, of_answers), of_bias),)


_begin.defvjp(_begin_forward, _begin_backward)


def answer(
  inputs: jax.Array, own: Parameters, notes: Notes, index: jax.Array
) -> tuple[jax.Array, Notes]:
  """Returns what a layer says, whose parameters get no gradient but by notes.

  Args:
    inputs: Shape ``[B, I]``.
    own: Its parameters.
    notes: What is written down so far.
    index: The step's, from 0. Shape ``[]``, int32.
  """
  outputs, notes = _answer(inputs, own, notes, index)
  return ad_checkpoint.checkpoint_name(outputs, ANSWERS), notes


def _write(notes: jax.Array, own: jax.Array, index: jax.Array) -> jax.Array:
  # Without the tests of bounds that ``at`` has.
  return jax.lax.dynamic_update_index_in_dim(notes, own, index, 0)


@jax.custom_vjp
def _answer(
  inputs: jax.Array, own: Parameters, notes: Notes, index: jax.Array
) -> tuple[jax.Array, Notes]:
  outputs = _linear.add_bias(_linear.forward(inputs, own.weights), own.bias)
  return outputs, notes._replace(heard=_write(notes.heard, inputs, index))


def _answer_backward(
  kept: tuple[Parameters, jax.Array], of: tuple[jax.Array, Notes]
) -> tuple[jax.Array, None, Notes, None]:
  own, index = kept
  gradient, notes = of
  of_answers = _write(notes.of_answers, gradient, index)
  of_inputs = _linear.of_inputs(own.weights, gradient)
  return of_inputs, None, notes._replace(of_answers=of_answers), None


_answer.defvjp(
  lambda inputs, own, notes, index: (
    _answer(inputs, own, notes, index),
    (own, index),
  ),
  _answer_backward,
)
