"""Products with parameters as XLA's CPU backend is fast at: a core's layers.

That backend copies a product's right operand into an order of its own, at each
step of a scan anew. For a batch of a few sequences the weights are by far the
larger operand, so a product takes several times what it could. Here weights are
the left operand, which is read as it lies in memory:

    y = (Wᵀ xᵀ)ᵀ    ∂x = (W ∂yᵀ)ᵀ    ∂W = xᵀ ∂y

Shapes: B sequences, I inputs of a layer, O outputs.
"""

from collections.abc import Callable
from typing import Any, cast

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax import _products

# Numbers in the weights of a layer, from which it pays.
_FEWEST_WEIGHTS = 2**14


@jax.custom_vjp
def product(inputs: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns the product of inputs and weights.

  Args:
    inputs: Shape ``[B, I]``.
    weights: Shape ``[I, O]``.

  Returns:
    Shape ``[B, O]``.
  """
  return forward(inputs, weights)


def _over_last(left: jax.Array, right: jax.Array) -> jax.Array:
  """Returns the product of two matrices over the last axis of both."""
  return jax.lax.dot_general(left, right, (((1,), (1,)), ((), ())))


def _turned(left: jax.Array, right: jax.Array) -> jax.Array:
  """Returns `_over_last`, turned.

  Without a barrier XLA would make of it the product of the operands in the
  other order.
  """
  return jax.lax.optimization_barrier(_over_last(left, right)).T


def forward(inputs: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns what `product` does, with no gradient of its own."""
  if weights.size < _FEWEST_WEIGHTS:
    return inputs @ weights

  def on_cpu(inputs: jax.Array, weights: jax.Array) -> jax.Array:
    # Behind a barrier it is done once, before the scan.
    return _turned(jax.lax.optimization_barrier(weights.T), inputs)

  return jax.lax.platform_dependent(
    inputs, weights, cpu=on_cpu, default=jnp.matmul
  )


def of_inputs(weights: jax.Array, gradient: jax.Array) -> jax.Array:
  """Returns the gradient of the inputs, ``[B, I]``."""

  def plain(weights: jax.Array, gradient: jax.Array) -> jax.Array:
    return gradient @ weights.T

  if weights.size < _FEWEST_WEIGHTS:
    # Turned behind a barrier, once, before the scan.
    return gradient @ jax.lax.optimization_barrier(weights.T)
  return jax.lax.platform_dependent(
    weights, gradient, cpu=_turned, default=plain
  )


def of_weights(inputs: jax.Array, gradient: jax.Array) -> jax.Array:
  """Returns the gradient of the weights, ``[I, O]``."""

  def plain(inputs: jax.Array, gradient: jax.Array) -> jax.Array:
    return inputs.T @ gradient

  return jax.lax.platform_dependent(
    inputs, gradient, cpu=_products.turned_outer, default=plain
  )


def _backward(
  operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
  inputs, weights = operands
  return (
    of_inputs(weights, gradient).astype(inputs.dtype),
    of_weights(inputs, gradient).astype(weights.dtype),
  )


product.defvjp(lambda *x: (forward(*x), x), _backward)


def is_plain(
  args: tuple[Any, ...], kwargs: dict[str, Any], context: hk.MethodContext
) -> bool:
  """Returns whether a call is that of a linear layer, on ``[B, I]``."""
  # No subclass: its own call would be passed over.
  is_layer = type(context.module) is hk.Linear
  if not is_layer or context.method_name != "__call__":
    return False
  return not kwargs and not hk.running_init() and args[0].ndim == 2


def parameters(layer: hk.Linear) -> tuple[jax.Array, jax.Array | None]:
  """Returns a layer's weights, and its bias if it has one."""
  found, name = layer.params_dict(), layer.module_name
  return found[f"{name}/w"], found.get(f"{name}/b")


def add_bias(outputs: jax.Array, bias: jax.Array | None) -> jax.Array:
  """Returns a layer's outputs, given its product."""
  return outputs if bias is None else outputs + bias[None]


def layer(
  call: Callable[..., jax.Array],
  args: tuple[Any, ...],
  kwargs: dict[str, Any],
  context: hk.MethodContext,
) -> jax.Array:
  """Does what a linear layer does, as `hk.intercept_methods` asks."""
  if not is_plain(args, kwargs, context):
    return call(*args, **kwargs)
  weights, bias = parameters(cast(hk.Linear, context.module))
  if weights.size < _FEWEST_WEIGHTS:
    return call(*args)
  return add_bias(product(args[0], weights), bias)


def quick(core: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a core whose linear layers are as fast as they can be on a CPU.

  Args:
    core: A function from inputs and state to outputs and state, such as an
      `hk.RNNCore`.
  """

  def step(*args: Any) -> Any:
    with hk.intercept_methods(layer):
      return core(*args)

  return step
