"""The layer through which a controller speaks to its memory."""

import math
from collections.abc import Mapping

import haiku as hk
import jax


def layout(
  *,
  word_size: int,
  num_reads: int,
  num_writes: int,
  links: str = "dense",
  content_mask: bool = False,
  link_sharpness: bool = False,
  allocation: str = "sort",
) -> dict[str, tuple[int, ...]]:
  """Returns what the interface of a `MemoryAccess` is made of.

  >>> layout(word_size=3, num_reads=2, num_writes=1)["read_keys"]
  (2, 3)

  Args:
    word_size: As `MemoryAccess` takes it, as are the others.
    num_reads: R.
    num_writes: H.
    links: How links are kept; read modes are left out where they are off.
    content_mask: Whether look-ups have masks.
    link_sharpness: Whether directional weights are made sharper.
    allocation: How free slots are found; softmax needs strengths.

  Returns:
    Name and shape of each quantity, in the order in which the columns of the
    layer ``interface`` give them.
  """
  shapes: dict[str, tuple[int, ...]] = {
    "write_vectors": (num_writes, word_size),
    "erase_vectors": (num_writes, word_size),
    "free_gate": (num_reads,),
    "allocation_gate": (num_writes,),
    "write_gate": (num_writes,),
  }
  if links != "off":
    shapes["read_mode"] = (num_reads, 1 + 2 * num_writes)
  shapes |= {
    "write_keys": (num_writes, word_size),
    "write_strengths": (num_writes,),
    "read_keys": (num_reads, word_size),
    "read_strengths": (num_reads,),
  }
  if content_mask:
    shapes |= {
      "write_masks": (num_writes, word_size),
      "read_masks": (num_reads, word_size),
    }
  if link_sharpness:
    shapes["link_sharpness"] = (num_reads, 2 * num_writes)
  if allocation == "softmax":
    shapes["allocation_strengths"] = (num_writes,)
  return shapes


def say(
  inputs: jax.Array,
  shapes: Mapping[str, tuple[int, ...]],
  *,
  layer_norm: bool = False,
) -> jax.Array:
  """Returns what one linear layer, named ``interface``, says.

  To be called in a module's ``__call__``, or in a method that
  ``hk.name_like("__call__")`` marks: the name of any other method would become
  part of the name under which checkpoints keep the parameters.

  Args:
    inputs: What the controller says. Shape ``[B, hidden size]``.
    shapes: Name and shape of each quantity, without the batch.
    layer_norm: Normalises the layer's outputs, all together, to mean 0 and
      variance 1, then scales and moves each as learned; named
      ``interface_norm``.

  Returns:
    All quantities side by side, ``[B, I]``.
  """
  size = sum(math.prod(shape) for shape in shapes.values())
  said = hk.Linear(size, name="interface")(inputs)
  if not layer_norm:
    return said
  return hk.LayerNorm(
    axis=-1, create_scale=True, create_offset=True, name="interface_norm"
  )(said)


def speak(
  inputs: jax.Array,
  shapes: Mapping[str, tuple[int, ...]],
  *,
  layer_norm: bool = False,
) -> dict[str, jax.Array]:
  """Returns what `say` does by quantity, each with a leading batch axis."""
  said = say(inputs, shapes, layer_norm=layer_norm)
  # The gradient of a split is one concatenation; that of slices, a sum.
  sizes = [math.prod(shape) for shape in shapes.values()]
  columns = jax.lax.split(said, sizes, axis=1)
  return {
    name: column.reshape(-1, *shape)
    for (name, shape), column in zip(shapes.items(), columns, strict=True)
  }
