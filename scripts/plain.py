"""A DNC written the obvious way, to compare the library's speed with.

The equations one after another by broadcasting and einsum, the order of the
slots by sorting twice as in google-deepmind/dnc, `jax.lax.scan` over the steps,
and JAX's own gradients: nothing that docs/performance.md tells of. It computes
what `dnc_jax.DNC` does with its defaults, from the same parameters.

Shapes: T steps, B sequences, I inputs, O outputs, H cells of the controller, N
slots of W numbers, R read heads; one write head.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from dnc_jax import losses, training
from dnc_jax.config import ModelConfig
from dnc_jax.training import OptimiserConfig, TrainState

EPSILON = 1e-6

Params = Mapping[str, Mapping[str, jax.Array]]


class PlainState(NamedTuple):
  """State after a step.

  Attributes:
    hidden: What the controller said. Shape ``[B, H]``.
    cell: What its cells hold. Shape ``[B, H]``.
    memory: Shape ``[B, N, W]``.
    usage: Shape ``[B, N]``.
    write_weights: Shape ``[B, N]``.
    precedence_weights: Shape ``[B, N]``.
    link: Shape ``[B, N, N]``.
    read_weights: Shape ``[B, R, N]``.
    read_words: Shape ``[B, R, W]``.
  """

  hidden: jax.Array
  cell: jax.Array
  memory: jax.Array
  usage: jax.Array
  write_weights: jax.Array
  precedence_weights: jax.Array
  link: jax.Array
  read_weights: jax.Array
  read_words: jax.Array


def initial_state(
  config: ModelConfig, batch_size: int, dtype: Any = jnp.float32
) -> PlainState:
  """Returns the state before the first step: zeros."""
  slots, words, heads = config.memory_size, config.word_size, config.num_reads
  shapes: dict[str, tuple[int, ...]] = {
    "hidden": (config.hidden_size,),
    "cell": (config.hidden_size,),
    "memory": (slots, words),
    "usage": (slots,),
    "write_weights": (slots,),
    "precedence_weights": (slots,),
    "link": (slots, slots),
    "read_weights": (heads, slots),
    "read_words": (heads, words),
  }
  return PlainState(
    **{name: jnp.zeros((batch_size, *x), dtype) for name, x in shapes.items()}
  )


def forward(
  params: Params, inputs: jax.Array, config: ModelConfig
) -> jax.Array:
  """Returns logits for whole sequences, from the initial state.

  Args:
    params: Those of `dnc_jax.training.make_forward`.
    inputs: Shape ``[T, B, I]``.
    config: Sizes and ``clip_value``; all else must be as by default.

  Returns:
    Shape ``[T, B, O]``.
  """

  def body(state: PlainState, heard: jax.Array) -> tuple[PlainState, jax.Array]:
    return _step(params, config, state, heard)

  first = initial_state(config, inputs.shape[1], inputs.dtype)
  return jax.lax.scan(body, first, inputs)[1]


def make_update(
  config: ModelConfig, optimiser: OptimiserConfig
) -> Callable[[TrainState, losses.Batch], tuple[TrainState, jax.Array]]:
  """Returns one step of training on bits, compiled.

  Args:
    config: The network.
    optimiser: How it is trained; its ``chunk_length`` does not count here.

  Returns:
    ``update(state, batch)``, which gives the next state and the loss before.
    The state given is used up.
  """
  transformation = training.make_optimiser(optimiser)

  def loss(params: Params, batch: losses.Batch) -> jax.Array:
    logits = forward(params, jnp.asarray(batch.inputs), config)
    return losses.bits(logits, batch.targets, batch.mask).loss

  def update(
    state: TrainState, batch: losses.Batch
  ) -> tuple[TrainState, jax.Array]:
    found, gradients = jax.value_and_grad(loss)(state.params, batch)
    changes, opt_state = transformation.update(gradients, state.opt_state)
    params = cast(Any, optax.apply_updates(state.params, changes))
    return TrainState(params, opt_state, state.step + 1), found

  return jax.jit(update, donate_argnums=0)


def _step(
  params: Params, config: ModelConfig, prev: PlainState, heard: jax.Array
) -> tuple[PlainState, jax.Array]:
  """Returns the state after a step, and its logits."""
  batch_size = heard.shape[0]

  def clip(x: jax.Array) -> jax.Array:
    bound = config.clip_value
    return x if bound is None else jnp.clip(x, -bound, bound)

  def linear(name: str, x: jax.Array) -> jax.Array:
    return x @ params[name]["w"] + params[name]["b"][None]

  def flat(x: jax.Array) -> jax.Array:
    return x.reshape(batch_size, -1)

  # The controller.
  gates = linear(
    "lstm/linear",
    jnp.concatenate([heard, flat(prev.read_words), prev.hidden], axis=1),
  )
  i, g, f, o = jnp.split(gates, 4, axis=1)
  cell = jax.nn.sigmoid(f + 1) * prev.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
  hidden = clip(jax.nn.sigmoid(o) * jnp.tanh(cell))
  cell = clip(cell)

  # What it tells the memory.
  said = linear("memory_access/interface", hidden)
  words, heads = config.word_size, config.num_reads
  parts = iter(
    jnp.split(
      said,
      _ends(words, words, heads, 1, 1, 3 * heads, words, 1, heads * words),
      axis=1,
    )
  )
  write_vector = next(parts)
  erase_vector = jax.nn.sigmoid(next(parts))
  free_gate = jax.nn.sigmoid(next(parts))
  allocation_gate = jax.nn.sigmoid(next(parts))
  write_gate = jax.nn.sigmoid(next(parts))
  modes = jax.nn.softmax(next(parts).reshape(batch_size, heads, 3), axis=2)
  write_key = next(parts)
  write_strength = jax.nn.softplus(next(parts))
  read_keys = next(parts).reshape(batch_size, heads, words)
  read_strengths = jax.nn.softplus(next(parts))

  # Writing.
  usage = prev.usage + (1 - prev.usage) * jax.lax.stop_gradient(
    prev.write_weights
  )
  usage *= jnp.prod(1 - free_gate[:, :, None] * prev.read_weights, axis=1)
  found = _content(prev.memory, write_key[:, None], write_strength)[:, 0]
  write_weights = write_gate * (
    allocation_gate * _allocation(usage) + (1 - allocation_gate) * found
  )
  where = write_weights[:, :, None]
  memory = (
    prev.memory * (1 - where * erase_vector[:, None])
    + where * write_vector[:, None]
  )

  # Links.
  link = (1 - where - write_weights[:, None]) * prev.link
  link += where * prev.precedence_weights[:, None]
  link *= 1 - jnp.eye(config.memory_size, dtype=link.dtype)[None]
  total = write_weights.sum(axis=1, keepdims=True)
  precedence_weights = (1 - total) * prev.precedence_weights + write_weights

  # Reading.
  ahead = jnp.einsum("bij,brj->bri", link, prev.read_weights)
  back = jnp.einsum("bji,brj->bri", link, prev.read_weights)
  read_weights = (
    modes[:, :, 0, None] * back
    + modes[:, :, 1, None] * ahead
    + modes[:, :, 2, None] * _content(memory, read_keys, read_strengths)
  )
  read_words = jnp.einsum("brn,bnw->brw", read_weights, memory)

  logits = linear(
    "dnc/output_linear", jnp.concatenate([hidden, flat(read_words)], axis=1)
  )
  return PlainState(
    hidden,
    cell,
    memory,
    usage,
    write_weights,
    precedence_weights,
    link,
    read_weights,
    read_words,
  ), clip(logits)


def _ends(*sizes: int) -> list[int]:
  """Returns where to split for parts of these sizes and a rest."""
  return [sum(sizes[: index + 1]) for index in range(len(sizes))]


def _content(
  memory: jax.Array, keys: jax.Array, strengths: jax.Array
) -> jax.Array:
  """Returns how much each slot resembles each of H keys: ``[B, H, N]``."""
  dots = jnp.einsum("bhw,bnw->bhn", keys, memory)
  key_norms = jnp.sqrt((keys * keys).sum(axis=2) + EPSILON)
  norms = jnp.sqrt((memory * memory).sum(axis=2) + EPSILON)
  similarity = dots / (key_norms[:, :, None] * norms[:, None] + EPSILON)
  return jax.nn.softmax(similarity * strengths[:, :, None], axis=2)


def _allocation(usage: jax.Array) -> jax.Array:
  """Returns the weighting over free slots, ``[B, N]``, sorting twice."""
  usage = EPSILON + (1 - EPSILON) * usage
  order = jnp.argsort(usage, axis=1)
  in_order = jnp.take_along_axis(usage, order, axis=1)
  before = jnp.cumprod(
    jnp.concatenate([jnp.ones_like(usage[:, :1]), in_order[:, :-1]], axis=1),
    axis=1,
  )
  weights = (1 - in_order) * before
  back = jnp.argsort(order, axis=1)
  return jnp.take_along_axis(weights, back, axis=1)
