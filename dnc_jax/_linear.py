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
  return _left(inputs, weights)


def _over_last(left: jax.Array, right: jax.Array) -> jax.Array:
  """Returns the product of two matrices over the last axis of both."""
  return jax.lax.dot_general(left, right, (((1,), (1,)), ((), ())))


def _turned(left: jax.Array, right: jax.Array) -> jax.Array:
  """Returns `_over_last`, turned.

  Without a barrier XLA would make of it the product of the operands in the
  other order.
  """
  return jax.lax.optimization_barrier(_over_last(left, right)).T


def _left(inputs: jax.Array, weights: jax.Array) -> jax.Array:
  def on_cpu(inputs: jax.Array, weights: jax.Array) -> jax.Array:
    # Behind a barrier it is done once, before the scan.
    return _turned(jax.lax.optimization_barrier(weights.T), inputs)

  return jax.lax.platform_dependent(
    inputs, weights, cpu=on_cpu, default=jnp.matmul
  )


def _left_of_inputs(weights: jax.Array, gradient: jax.Array) -> jax.Array:
  return jax.lax.platform_dependent(
    weights, gradient, cpu=_turned, default=lambda w, g: g @ w.T
  )


def _backward(
  operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
  inputs, weights = operands
  of_inputs = _left_of_inputs(weights, gradient)
  of_weights = jax.lax.platform_dependent(
    inputs,
    gradient,
    cpu=_products.turned_outer,
    default=lambda x, g: x.T @ g,
  )
  return of_inputs.astype(inputs.dtype), of_weights.astype(weights.dtype)


product.defvjp(lambda *x: (_left(*x), x), _backward)


def forward(inputs: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns a layer's product, ``[B, O]``, in the form that is quick."""
  if weights.size < _FEWEST_WEIGHTS:
    return inputs @ weights
  return _left(inputs, weights)


def of_inputs(weights: jax.Array, gradient: jax.Array) -> jax.Array:
  """Returns the gradient of a layer's inputs, ``[B, I]``, likewise."""
  if weights.size < _FEWEST_WEIGHTS:
    return gradient @ weights.T
  return _left_of_inputs(weights, gradient)


def is_plain(
  args: tuple[Any, ...], kwargs: dict[str, Any], context: hk.MethodContext
) -> bool:
  """Returns whether a method is a linear layer's, called on a batch.

  Args:
    args: What the method is called with.
    kwargs: Likewise.
    context: As `hk.intercept_methods` gives it.
  """
  # No subclass: its own call would be passed over.
  return (
    type(context.module) is hk.Linear
    and context.method_name == "__call__"
    and not kwargs
    and len(args) == 1
    and args[0].ndim == 2
  )


def parameters(context: hk.MethodContext) -> tuple[jax.Array, jax.Array]:
  """Returns weights and bias of a linear layer; 0 for a bias it lacks."""
  layer = cast(hk.Linear, context.module)
  arrays = layer.params_dict()
  name = layer.module_name
  weights = arrays[f"{name}/w"]
  if not layer.with_bias:
    return weights, jnp.zeros((), weights.dtype)
  return weights, arrays[f"{name}/b"]


def layer(
  call: Callable[..., jax.Array],
  args: tuple[Any, ...],
  kwargs: dict[str, Any],
  context: hk.MethodContext,
) -> jax.Array:
  """Does what a linear layer does, as `hk.intercept_methods` asks."""
  if hk.running_init() or not is_plain(args, kwargs, context):
    return call(*args, **kwargs)
  weights, bias = parameters(context)
  if weights.size < _FEWEST_WEIGHTS:
    return call(*args)
  outputs = product(args[0], weights)
  return outputs + jnp.broadcast_to(bias, outputs.shape)


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
