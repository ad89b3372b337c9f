"""Writes the weights of a run into a folder that can ship: config, weights.

python -m scripts.export --checkpoint_dir=runs/city --name=traversal
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from absl import flags

from dnc_jax.checkpoint import save_params
from scripts import flags as shared
from scripts.saved import restore_params, write_config

NAME = flags.DEFINE_string(
  "name", None, "Name of the weights, a folder below --folder."
)
HALF = flags.DEFINE_bool(
  "half", False, "Rounds the weights to 16 bits, so that they take half."
)
FOLDER = flags.DEFINE_string("folder", "pretrained", "Where to put it.")


def main(argv: Sequence[str]) -> None:
  """Exports as the flags say."""
  del argv
  if not NAME.value:
    raise ValueError("Give the weights a name, --name=traversal.")
  folder = pathlib.Path(FOLDER.value) / NAME.value
  config, params, step = restore_params(shared.checkpoint_dir())
  # The shipped weights are no run of their own: where they began is in README.
  write_config(folder, dataclasses.replace(config, initial_weights=None))
  if HALF.value:
    params = jax.tree.map(lambda x: x.astype(jnp.float16), params)
  save_params(folder, params)
  print(f"Weights of {shared.checkpoint_dir()} at step {step} are in {folder}.")


if __name__ == "__main__":
  shared.run_script(main)
