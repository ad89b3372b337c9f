"""What tests of several devices run, in processes that have them."""

import functools
import json
import os
import pathlib

import jax
import numpy as np

from dnc_jax import losses, sharding, training
from dnc_jax.config import ModelConfig
from dnc_jax.losses import Batch
from dnc_jax.training import OptimiserConfig
from scripts import scaled
from scripts.costs import NUM_BITS
from scripts.saved import restore_params
from tests import processes

STEPS, T, B, BITS = 50, 5, 8, NUM_BITS
OPTIMISER = OptimiserConfig(learning_rate=1e-3)
# From 193 slots on, free ones are found by sorting.
CONFIGS = {
  "dnc": ModelConfig(
    BITS, hidden_size=6, memory_size=200, word_size=5, num_reads=2
  ),
  "sam": ModelConfig(
    BITS, core="sam", hidden_size=6, memory_size=16, word_size=5, num_reads=2
  ),
}
OBJECTIVE = functools.partial(losses.bits, time_average=True)


def draw(step):
  """Returns one of five batches: say what was heard the step before."""
  rng = np.random.default_rng([0, step % 5])
  bits = rng.integers(0, 2, (T, B, BITS)).astype(np.float32)
  return Batch(
    inputs=bits,
    targets=np.roll(bits, 1, axis=0),
    mask=np.ones((T, B), np.float32),
    lesson=np.zeros(B, np.int32),
  )


def losses_of(config, mesh):
  """Returns the loss of each step of training over a mesh."""
  state = training.init_state(config, OPTIMISER, BITS, seed=0)
  if mesh is not None:
    state = sharding.replicate(state, mesh)
  update = training.make_update(config, OPTIMISER, OBJECTIVE, mesh=mesh)
  found = []
  for step in range(STEPS):
    batch = draw(step)
    if mesh is not None:
      batch = sharding.shard_batch(batch, mesh)
    state, scores = update(state, batch, step, config.memory_size)
    found.append(float(scores.loss))
  return found


def with_devices(count):
  """Gives this process so many CPU devices, before JAX starts."""
  others = os.environ.get("XLA_FLAGS", "")
  os.environ["XLA_FLAGS"] = (
    f"{others} --xla_force_host_platform_device_count={count}"
  )


def print_losses():
  """Prints the losses of each model over each mesh, of eight devices."""
  with_devices(8)
  found = {
    name: [
      losses_of(config, mesh)
      for mesh in (None, *(sharding.make_mesh(*x) for x in meshes))
    ]
    for (name, config), meshes in zip(
      CONFIGS.items(), ([(8, 1), (2, 4)], [(2, 4)]), strict=True
    )
  }
  print(json.dumps(found))


def print_programs():
  """Prints the texts of what is compiled for a mesh of each kind."""
  with_devices(8)
  print(
    json.dumps(
      [
        scaled.compile_update(
          CONFIGS["dnc"], T, B, sharding.make_mesh(*shape)
        ).as_text()
        for shape in ((8, 1), (1, 8))
      ]
    )
  )


def train(devices, *args):
  """Does what ``python -m scripts.train args`` does, with so many devices."""
  with_devices(devices)
  processes.run_module("train", args)


def print_params(*folders):
  """Prints the bits of each run's newest checkpoint, in hexadecimal."""
  found = []
  for folder in folders:
    _, params, step = restore_params(pathlib.Path(folder))
    bits = [np.asarray(x).tobytes().hex() for x in jax.tree.leaves(params)]
    found.append([step, bits])
  print(json.dumps(found))
