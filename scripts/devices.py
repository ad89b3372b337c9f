"""Flags for several devices and processes, and what they stand for.

The same on CPU, GPU and TPU: docs/scaling.md.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

import jax
from absl import flags
from jax.sharding import Mesh

from dnc_jax import processes, sharding

MESH_DATA = flags.DEFINE_integer(
  "mesh_data", 1, "Devices that the sequences of a batch are divided over."
)
MESH_SLOTS = flags.DEFINE_integer(
  "mesh_slots", 1, "Devices that the slots of each memory are divided over."
)
COORDINATOR_ADDRESS = flags.DEFINE_string(
  "coordinator_address",
  None,
  "Host and port at which process 0 of several waits for the others.",
)
NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "How many processes run this command.", lower_bound=1
)
PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "Which of them this is, from 0.", lower_bound=0
)
DISTRIBUTED = flags.DEFINE_bool(
  "distributed",
  False,
  "Lets JAX find the other processes: under Slurm, Open MPI, Kubernetes, and "
  "on TPU pods.",
)

# A process that has not been heard of for so long is taken for lost.
_HEARTBEAT_SECONDS = 40
# How long processes wait for all of them to be there.
_START_SECONDS = 300


def join() -> None:
  """Joins the other processes, if the flags tell of any.

  Before anything else is asked of JAX.

  Raises:
    ValueError: The flags do not tell how, or the others are not there.
  """
  named = {
    flag.name: flag.value
    for flag in (COORDINATOR_ADDRESS, NUM_PROCESSES, PROCESS_ID)
  }
  missing = [f"--{name}" for name, value in named.items() if value is None]
  if len(missing) == len(named) and not DISTRIBUTED.value:
    return
  if missing and not DISTRIBUTED.value:
    raise ValueError(
      f"{' and '.join(missing)} must be given, too, or --distributed, by which "
      "JAX finds out itself where it can."
    )
  count, number = NUM_PROCESSES.value, PROCESS_ID.value
  if count is not None and number is not None and number >= count:
    raise ValueError(
      f"process_id must be below num_processes, {count}, got {number}."
    )
  address = COORDINATOR_ADDRESS.value
  if address is not None and not address.rpartition(":")[2].isdecimal():
    raise ValueError(f"coordinator_address must be host:port, got {address!r}.")
  # What CPUs of several processes add up by; of no meaning for others.
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  try:
    jax.distributed.initialize(
      coordinator_address=address,
      num_processes=count,
      process_id=number,
      initialization_timeout=_START_SECONDS,
      heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
    )
  except (RuntimeError, ValueError) as error:
    raise ValueError(
      f"The processes cannot be joined: {error} Give --coordinator_address, "
      "--num_processes and --process_id."
    ) from None


def are_wanted() -> bool:
  """Returns whether the flags ask for more than one device."""
  one = MESH_DATA.value == MESH_SLOTS.value == 1
  return not one or processes.are_several()


def mesh() -> Mesh | None:
  """Returns the mesh that the flags describe; None for one device.

  Raises:
    ValueError: There are not so many devices, or not so few.
  """
  if not are_wanted():
    return None
  return sharding.make_mesh(MESH_DATA.value, MESH_SLOTS.value)


@contextlib.contextmanager
def ending_together(folder: object) -> Iterator[None]:
  """Ends this process, with one line, when another one is lost.

  Args:
    folder: Where what was saved is, to be told.
  """
  try:
    yield
  except Exception as error:
    if not processes.tells_of_loss(error):
      raise
    # Each layer of XLA puts its own words before the reason.
    text = str(error).rpartition("computation: ")[2]
    reason = " ".join(text.split())[:200]
    print(
      f"error: process {jax.process_index()} of {jax.process_count()} ends, as "
      "another process was lost. The same commands go on from the newest "
      f"checkpoint in {folder}. JAX says: {reason}",
      file=sys.stderr,
      flush=True,
    )
    # At its usual end Python would wait for the process that is lost.
    os._exit(1)
