"""Products with parameters as XLA's CPU backend is fast at: a core's layers.

That backend copies a product's right operand into an order of its own, at each
step of a scan anew. For a batch of a few sequences the weights are by far the
larger operand, so a product takes several times what it could. Here weights are
the left operand, which is read as it lies in memory:

    y = (Wᵀ xᵀ)ᵀ    ∂x = (W ∂yᵀ)ᵀ    ∂W = xᵀ ∂y

Shapes: B sequences, I inputs of a layer, O outputs.
"""

from collections.abc import Callable
from typing import Any

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
  return _forward(inputs, weights)


def _over_last(left: jax.Array, right: jax.Array) -> jax.Array:
  """Returns the product of two matrices over the last axis of both."""
  return jax.lax.dot_general(left, right, (((1,), (1,)), ((), ())))


def _turned(left: jax.Array, right: jax.Array) -> jax.Array:
  """Returns `_over_last`, turned.

  Without a barrier XLA would make of it the product of the operands in the
  other order.
  """
  return jax.lax.optimization_barrier(_over_last(left, right)).T


def _forward(inputs: jax.Array, weights: jax.Array) -> jax.Array:
  def on_cpu(inputs: jax.Array, weights: jax.Array) -> jax.Array:
    # Behind a barrier it is done once, before the scan.
    return _turned(jax.lax.optimization_barrier(weights.T), inputs)

  return jax.lax.platform_dependent(
    inputs, weights, cpu=on_cpu, default=jnp.matmul
  )


def _backward(
  operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
  def on_cpu(
    inputs: jax.Array, weights: jax.Array, gradient: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    of_weights = _products.turned_outer(inputs, gradient)
    return _turned(weights, gradient), of_weights

  def plain(
    inputs: jax.Array, weights: jax.Array, gradient: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    return gradient @ weights.T, inputs.T @ gradient

  of_inputs, of_weights = jax.lax.platform_dependent(
    *operands, gradient, cpu=on_cpu, default=plain
  )
  inputs, weights = operands
  return of_inputs.astype(inputs.dtype), of_weights.astype(weights.dtype)


product.defvjp(lambda *x: (_forward(*x), x), _backward)


def _layer(
  call: Callable[..., jax.Array],
  args: tuple[Any, ...],
  kwargs: dict[str, Any],
  context: hk.MethodContext,
) -> jax.Array:
  """Does what a linear layer does, as `hk.intercept_methods` asks."""
  layer = context.module
  # No subclass: its own call would be passed over.
  if type(layer) is not hk.Linear or context.method_name != "__call__":
    return call(*args, **kwargs)
  if kwargs or hk.running_init() or args[0].ndim != 2:
    return call(*args, **kwargs)
  parameters = layer.params_dict()
  name = layer.module_name
  weights = parameters[f"{name}/w"]
  if weights.size < _FEWEST_WEIGHTS:
    return call(*args)
  outputs = product(args[0], weights)
  if layer.with_bias:
    outputs += jnp.broadcast_to(parameters[f"{name}/b"], outputs.shape)
  return outputs


def quick(core: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a core whose linear layers are as fast as they can be on a CPU.

  Args:
    core: A function from inputs and state to outputs and state, such as an
      `hk.RNNCore`.
  """

  def step(*args: Any) -> Any:
    with hk.intercept_methods(_layer):
      return core(*args)

  return step
