"""Gradients of layers' parameters, of all steps of a sequence at once.

They are sums over the steps of a sequence:

    ∂W = Σₜ xₜᵀ ∂yₜ    ∂b = Σₜ ∂yₜ

The backward pass of a scan adds them up step by step: for each a small product,
and a way through all weights to add it. Here a step hands out what a layer
heard, x, and what its answer is found to be worth, ∂y, and after the scan one
product over all steps does the rest: fewer operations, and larger ones.

∂y is the gradient of a tap: zeros that are, on paper, added to what a layer
says. A layer that is called more than once in a step has none, and is
differentiated as ever.

Shapes: T steps, B sequences, I inputs of a layer, O outputs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax import _linear, _products

# By name of the layer.
Arrays = Mapping[str, jax.Array]


def layers(call: Callable[..., Any], *args: Any) -> dict[str, int]:
  """Returns the layers that a step calls once, and their O, by name.

  Args:
    call: A step, with its parameters.
    *args: Its arguments, or their shapes.
  """
  calls: list[tuple[str, int]] = []

  def note(
    call: Callable[..., jax.Array],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: hk.MethodContext,
  ) -> jax.Array:
    outputs = call(*args, **kwargs)
    if _linear.is_plain(args, kwargs, context):
      calls.append((context.module.module_name, outputs.shape[-1]))
    return outputs

  def noted(*args: Any) -> Any:
    with hk.intercept_methods(note):
      return call(*args)

  jax.eval_shape(noted, *args)
  names = [name for name, _ in calls]
  return {name: size for name, size in calls if names.count(name) == 1}


def taps(layers: Mapping[str, int], shape: tuple[int, int]) -> Arrays:
  """Returns the taps of a sequence, of shape ``[T, B]``, for each layer."""
  return {name: jnp.zeros([*shape, size]) for name, size in layers.items()}


def tapped(core: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a core whose layers' parameters get no gradient, but taps do.

  Args:
    core: A function from inputs and state to outputs and state, such as an
      `hk.RNNCore`.

  Returns:
    A function from ``(inputs, taps)`` and state to ``(outputs, heard)`` and
    state: the taps of this step, ``[B, O]`` each, and what layers heard, ``[B,
    I]`` each.
  """

  def step(inputs: tuple[Any, Arrays], prev_state: Any) -> Any:
    inputs, taps = inputs
    heard = {}

    def layer(
      call: Callable[..., jax.Array],
      args: tuple[Any, ...],
      kwargs: dict[str, Any],
      context: hk.MethodContext,
    ) -> jax.Array:
      if not _linear.is_plain(args, kwargs, context):
        return call(*args, **kwargs)
      name = context.module.module_name
      if name not in taps:
        return _linear.layer(call, args, kwargs, context)
      weights, bias = map(jax.lax.stop_gradient, _linear.parameters(context))
      heard[name] = jax.lax.stop_gradient(args[0])
      outputs = _product(args[0], weights, taps[name])
      return outputs + jnp.broadcast_to(bias, outputs.shape)

    with hk.intercept_methods(layer):
      outputs, state = core(inputs, prev_state)
    return (outputs, heard), state

  return step


class Taps:
  """Carries taps past an outer core, such as `Acting`, to the one it calls."""

  def __init__(self, step: Callable[..., Any]):
    """Takes what `tapped` gives, or what computes the same."""
    self._step = step
    self._taps: Arrays = {}
    self._heard: Arrays = {}

  def inner(self, inputs: Any, prev_state: Any) -> Any:
    """Does a step as the core that `tapped` was given."""
    (outputs, self._heard), state = self._step((inputs, self._taps), prev_state)
    return outputs, state

  def around(self, outer: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a core that calls `inner`, as `tapped` has cores."""

    def step(inputs: tuple[Any, Arrays], prev_state: Any) -> Any:
      inputs, self._taps = inputs
      outputs, state = outer(inputs, prev_state)
      return (outputs, self._heard), state

    return step


def add(params: hk.Params, heard: Arrays, of_taps: Arrays) -> hk.Params:
  """Returns gradients with those of the layers that have taps.

  Args:
    params: Gradients of all else.
    heard: What layers heard, ``[T, B, I]`` each.
    of_taps: Gradients of the taps, ``[T, B, O]`` each.
  """
  whole = {module: dict(arrays) for module, arrays in params.items()}
  for name, gradient in of_taps.items():
    inputs, gradient = (
      x.reshape(-1, x.shape[-1]) for x in (heard[name], gradient)
    )
    whole[name]["w"] += _products.turned_outer(inputs, gradient)
    if "b" in whole[name]:
      whole[name]["b"] += gradient.sum(axis=0)
  return whole


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
