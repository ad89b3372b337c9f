"""Models trained with google-deepmind/dnc, brought over."""

from collections.abc import Mapping
from typing import cast

import haiku as hk
import numpy as np

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
  reads, writes = num_reads * word_size, num_writes * word_size
  # The order is that of MemoryAccess.interface_layout().
  interface = {
    "write_vectors": writes,
    "erase_vectors": writes,
    "free_gate": num_reads,
    "allocation_gate": num_writes,
    "write_gate": num_writes,
    "read_mode": num_reads * (1 + 2 * num_writes),
    "write_keys": writes,
    "write_strengths": num_writes,
    "read_keys": reads,
    "read_strengths": num_reads,
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
