"""What tests of several devices run, in processes that have them."""

import dataclasses
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
from tasks.shortest_path import ShortestPath
from tasks.traversal import Lesson
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


ROUTES = ShortestPath(
  (Lesson((3, 5), (1, 2), (1, 2)),), num_queries=2, planning_steps=1
)


def draw_routes(step):
  """Returns one of five batches of routes, where the network itself moves."""
  rng = np.random.default_rng([0, step % 5])
  return ROUTES.sample(rng, np.zeros(B, int), length=ROUTES.length(0))


def losses_of(
  config, mesh, draw=draw, goal: training.Goal = OBJECTIVE, bits=BITS
):
  """Returns the loss of each step of training over a mesh."""
  state = training.init_state(config, OPTIMISER, bits, seed=0)
  if mesh is not None:
    state = sharding.replicate(state, mesh)
  update = training.make_update(config, OPTIMISER, goal, mesh=mesh)
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
  config = dataclasses.replace(
    CONFIGS["dnc"], output_size=ROUTES.output_size, memory_size=16
  )
  found["routes"] = [
    losses_of(config, mesh, draw_routes, ROUTES.objective, ROUTES.input_size)
    for mesh in (None, sharding.make_mesh(8, 1), sharding.make_mesh(2, 4))
  ]
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


def train(devices, slurm, *args):
  """Does what ``python -m scripts.train args`` does, with so many devices.

  Args:
    devices: How many.
    slurm: None, or what Slurm would tell of: a number for the job, of processes
      and of this one.
    *args: The flags.
  """
  with_devices(devices)
  if slurm is not None:
    # JAX makes a port of the job's number, from 61440 on.
    job, count, number = slurm
    told = {"JOB_ID": job, "NTASKS": count, "PROCID": number, "LOCALID": number}
    told["STEP_NODELIST"] = "localhost"
    os.environ.update({f"SLURM_{x}": str(y) for x, y in told.items()})
  processes.run_module("train", args)


def print_params(*folders):
  """Prints the bits of each run's newest checkpoint, in hexadecimal."""
  found = []
  for folder in folders:
    _, params, step = restore_params(pathlib.Path(folder))
    bits = [np.asarray(x).tobytes().hex() for x in jax.tree.leaves(params)]
    found.append([step, bits])
  print(json.dumps(found))
