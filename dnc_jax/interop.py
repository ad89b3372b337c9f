"""Models brought over: from google-deepmind/dnc, to wider words, new tasks."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import cast

import haiku as hk
import jax
import numpy as np

from dnc_jax import _interface
from dnc_jax.config import ModelConfig

_ACCESS = "dnc/memory_access/"


def from_deepmind(
  variables: Mapping[str, np.ndarray],
  *,
  memory_size: int,
  clip_value: float | None = None,
) -> tuple[ModelConfig, hk.Params]:
  """Returns the config and parameters of a model trained with DeepMind's code.

  All sizes but the number of slots, which no variable's shape shows, are read
  off the variables. The model computes the same function:

      config, params = dnc_jax.from_deepmind(variables, memory_size=16,
                                             clip_value=20)
      unroll = hk.transform(lambda inputs, state: hk.dynamic_unroll(
          dnc_jax.make_core(config), inputs, state))

  Args:
    variables: The trained variables by their names in TensorFlow, such as
      ``dnc/lstm/w_gates`` and ``dnc/memory_access/write_keys/w``; names may
      end in ``:0``, and the optimiser's variables may be among them. In
      TensorFlow, ``tf.train.load_checkpoint(folder)`` reads them.
    memory_size: N, slots of the memory, at least 1.
    clip_value: What the model was trained with: 20 by the training script's
      default. None or 0 for none.

  Returns:
    The config, and parameters for ``hk.transform`` of ``make_core(config)``,
    of the variables' dtype.

  Raises:
    ValueError: A variable is missing or of the wrong shape (the message names
      it), or ``memory_size`` is below 1.
  """
  arrays = {
    name.removesuffix(":0"): np.asarray(array)
    for name, array in variables.items()
  }

  def size(name: str, axis: int = 0) -> int:
    if name not in arrays:
      raise ValueError(
        f"The variable {name!r} is missing. Given: "
        + (", ".join(sorted(arrays)) or "none")
        + "."
      )
    if arrays[name].ndim <= axis:
      raise ValueError(
        f"The variable {name!r} has too few axes: shape {arrays[name].shape}."
      )
    return arrays[name].shape[axis]

  hidden_size = size("dnc/lstm/b_gates") // 4
  num_reads = size(_ACCESS + "free_gate/b")
  num_writes = size(_ACCESS + "write_gate/b")
  word_size = size(_ACCESS + "write_vectors/b") // max(num_writes, 1)
  output_size = size("dnc/output_linear/b")
  heard = size("dnc/lstm/w_gates")

  config = ModelConfig(
    output_size=output_size,
    hidden_size=hidden_size,
    memory_size=memory_size,
    word_size=word_size,
    num_reads=num_reads,
    num_writes=num_writes,
    clip_value=clip_value or None,
  )
  reads = num_reads * word_size
  interface = {
    name: math.prod(shape) for name, shape in _layout(config).items()
  }
  if heard <= reads + hidden_size:
    raise ValueError(
      f"The variable 'dnc/lstm/w_gates' has {heard} rows, too few for the "
      f"{reads} numbers read and the {hidden_size} hidden ones beside an input."
    )

  def variable(name: str, shape: tuple[int, ...]) -> np.ndarray:
    size(name)
    if arrays[name].shape != shape:
      raise ValueError(
        f"The variable {name!r} must have shape {shape}, got "
        f"{arrays[name].shape}."
      )
    return arrays[name]

  def linear(name: str, rows: int, columns: int) -> dict[str, np.ndarray]:
    return {
      "w": variable(name + "/w", (rows, columns)),
      "b": variable(name + "/b", (columns,)),
    }

  layers = [
    linear(_ACCESS + name, hidden_size, columns)
    for name, columns in interface.items()
  ]
  params = {
    "lstm/linear": {
      "w": variable("dnc/lstm/w_gates", (heard, 4 * hidden_size)),
      "b": variable("dnc/lstm/b_gates", (4 * hidden_size,)),
    },
    "memory_access/interface": {
      key: np.concatenate([layer[key] for layer in layers], axis=-1)
      for key in ("w", "b")
    },
    "dnc/output_linear": linear(
      "dnc/output_linear", hidden_size + reads, output_size
    ),
  }
  return config, cast(hk.Params, params)


# What the masks of new elements start from: sigmoid(-3), about 0.05.
_NEW_MASK_BIAS = -3.0


def widen_words(
  params: hk.Params, config: ModelConfig, fresh: hk.Params
) -> hk.Params:
  """Returns a trained model whose memory has longer words.

  What the model knows goes on working: the controller and the outputs do not
  yet hear the new elements of the words read, the read and write keys are 0
  there, and the masks, where there are any, nearly so. What is *written* to
  the new elements is drawn anew, a random code of what the controller says,
  which further training can learn to look up. Without masks it changes the
  norms of words, so that such a model may need to settle again.

  Args:
    params: Trained parameters of a model with an LSTM controller.
    config: What it is made of.
    fresh: Initial parameters of the same model with a larger ``word_size``.

  Returns:
    Parameters of the shapes of ``fresh``.

  Raises:
    ValueError: The controller is another, or ``fresh`` is not of the same model
      with longer words.
  """
  _check_core(config)
  if config.controller != "lstm":
    raise ValueError(
      "Only models whose controller is 'lstm' can have their words widened, "
      f"got {config.controller!r}."
    )
  hidden, reads = config.hidden_size, config.num_reads
  rows = params["lstm/linear"]["w"].shape[0]
  heard = rows - hidden - reads * config.word_size
  word_size, left = divmod(
    fresh["dnc/output_linear"]["w"].shape[0] - hidden, reads
  )
  wide = dataclasses.replace(config, word_size=max(word_size, 1))
  layout, wide_layout = (_layout(c) for c in (config, wide))
  columns = sum(math.prod(shape) for shape in wide_layout.values())
  if (
    left
    or word_size < config.word_size
    or fresh["lstm/linear"]["w"].shape
    != (heard + reads * word_size + hidden, 4 * hidden)
    or fresh["memory_access/interface"]["w"].shape != (hidden, columns)
    or fresh["dnc/output_linear"]["b"].shape != (config.output_size,)
  ):
    raise ValueError(
      "The fresh parameters must be those of the same model with words of at "
      f"least {config.word_size} numbers."
    )

  # Where in the wide model each element of a word read is found.
  element = np.arange(config.word_size)
  place = (np.arange(reads)[:, None] * word_size + element).ravel()

  def widened(linear: str, start: int) -> np.ndarray:
    """Adds rows of zeros among those that hear what is read."""
    array = np.asarray(params[linear]["w"])
    stop = start + reads * config.word_size
    heard_words = np.zeros((reads * word_size, array.shape[1]), array.dtype)
    heard_words[place] = array[start:stop]
    return np.concatenate([array[:start], heard_words, array[stop:]])

  interface = {"w": [], "b": []}
  start, wide_start = 0, 0
  for name, shape in layout.items():
    stop = start + math.prod(shape)
    wide_stop = wide_start + math.prod(wide_layout[name])
    for key, parts in interface.items():
      old = np.asarray(params["memory_access/interface"][key])
      new = np.asarray(fresh["memory_access/interface"][key])
      old, new = old[..., start:stop], new[..., wide_start:wide_stop]
      new = new.copy().reshape(*new.shape[:-1], *wide_layout[name])
      if name in ("write_keys", "read_keys", "write_masks", "read_masks"):
        new[:] = _NEW_MASK_BIAS if name.endswith("masks") and key == "b" else 0
      old = old.reshape(*old.shape[:-1], *shape)
      if new.shape == old.shape:
        new = old
      else:
        new[..., : config.word_size] = old
      parts.append(new.reshape(*new.shape[: -len(shape)], -1))
    start, wide_start = stop, wide_stop
  widened_params = {
    "lstm/linear": {
      "w": widened("lstm/linear", heard),
      "b": np.asarray(params["lstm/linear"]["b"]),
    },
    "memory_access/interface": {
      key: np.concatenate(parts, axis=-1) for key, parts in interface.items()
    },
    "dnc/output_linear": {
      "w": widened("dnc/output_linear", hidden),
      "b": np.asarray(params["dnc/output_linear"]["b"]),
    },
  }
  return cast(hk.Params, widened_params)


def reset_read_heads(
  params: hk.Params,
  config: ModelConfig,
  fresh: hk.Params,
  kept_heads: Sequence[int] = (),
) -> hk.Params:
  """Returns a model whose read heads have yet to learn where to look.

  Look-ups that are sharp give next to no gradient towards others: a model that
  looks up one thing learns slowly to look up another. What it writes, and what
  it makes of what it reads, stay as they are.

  Args:
    params: Parameters of a model.
    config: Its config.
    fresh: Parameters as drawn for the same config, for the read keys, strengths
      and masks.
    kept_heads: Numbers, from 0, of read heads that stay as they are.

  Returns:
    Parameters of the same shapes.

  Raises:
    ValueError: ``fresh`` is not of the same model, that is no DNC, or it has no
      such head.
  """
  _check_core(config)
  for head in kept_heads:
    if not 0 <= head < config.num_reads:
      raise ValueError(
        f"kept_heads must be from 0 to {config.num_reads - 1}, got {head}."
      )
  anew = [head for head in range(config.num_reads) if head not in kept_heads]
  shapes = [jax.tree.map(np.shape, part) for part in (params, fresh)]
  if shapes[0] != shapes[1]:
    raise ValueError("The fresh parameters must be those of the same model.")
  name = "memory_access/interface"
  interface = {key: np.array(x) for key, x in params[name].items()}
  start = 0
  for part, shape in _layout(config).items():
    stop = start + math.prod(shape)
    if part in ("read_keys", "read_strengths", "read_masks"):
      columns = np.arange(start, stop).reshape(config.num_reads, -1)[anew]
      for key, array in interface.items():
        array[..., columns] = np.asarray(fresh[name][key])[..., columns]
    start = stop
  return cast(hk.Params, {**params, name: interface})


def _check_core(config: ModelConfig) -> None:
  """Raises a ValueError for a model that is not a DNC."""
  if config.core != "dnc":
    raise ValueError(
      f"Only a DNC's memory can be changed, core 'dnc', got {config.core!r}."
    )
  if config.layer_norm:
    raise ValueError(
      "A memory whose interface is normalised cannot be changed: layer_norm "
      "must be False."
    )


def _layout(config: ModelConfig) -> dict[str, tuple[int, ...]]:
  return _interface.layout(
    word_size=config.word_size,
    num_reads=config.num_reads,
    num_writes=config.num_writes,
    links=config.links,
    content_mask=config.content_mask,
    link_sharpness=config.link_sharpness,
    allocation=config.allocation,
  )
