"""Sequences and slots divided over several devices, by JAX's own means.

A mesh has two axes. Over `DATA` the sequences of a batch are divided; over
`SLOTS` the slots of each memory, for memories larger than one device holds.
Parameters and the optimiser's state are whole on every device. Each device
unrolls its own sequences (`divide`). Of slots a program is told only where the
states of its cores have them (`constrain`): JAX's partitioner divides the rest
and adds what crosses between devices. So what is computed is what one device
computes, but for the order of sums: softmax over all slots, one sort of all of
them, every link.

The same holds of one process with several devices and of several processes
after ``jax.distributed.initialize``, in which each runs the same program.

Shapes: T steps, B sequences in the batch, N slots.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dnc_jax._checks import at_least
from dnc_jax.access import AccessState, TemporalLinkageState
from dnc_jax.config import ModelConfig
from dnc_jax.interaction import Episodes
from dnc_jax.losses import Batch
from dnc_jax.mann import MANNAccessState
from dnc_jax.ntm import NTMAccessState
from dnc_jax.sam import SAMAccessState
from dnc_jax.sdnc import SDNCAccessState
from dnc_jax.sparse_links import SparseLinks

DATA, SLOTS = "data", "slots"

_Sequences = TypeVar("_Sequences", bound=Batch | Episodes)

# Where a state has its slots: the axis by field. A link matrix is divided by
# the slot that a link leads to. All else has a batch axis alone.
SLOT_AXES: dict[type, dict[str, int]] = {
  AccessState: {
    "memory": 1, "read_weights": 2, "write_weights": 2, "usage": 1,
  },
  TemporalLinkageState: {"link": 2, "precedence_weights": 2},
  NTMAccessState: {"memory": 1, "read_weights": 2, "write_weights": 2},
  MANNAccessState: {
    "memory": 1, "read_weights": 2, "write_weights": 2, "usage": 1,
  },
  SAMAccessState: {"memory": 1, "squares": 1, "last_access": 1},
  SDNCAccessState: {"memory": 1, "squares": 1, "last_access": 1},
  SparseLinks: {
    "predecessors": 2, "predecessor_links": 2,
    "successors": 2, "successor_links": 2,
  },
}  # fmt: skip


def make_mesh(
  data: int = 1, slots: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
  """Returns a mesh of ``data`` × ``slots`` devices.

  Devices that divide one memory are neighbours: more crosses between them, and
  at every step.

  Args:
    data: Parts of a batch, at least 1.
    slots: Parts of a memory, at least 1.
    devices: What to take them from; all of all processes if None. Of one
      process the first are taken, of several all must be.

  Raises:
    ValueError: A number is below 1, or is not what the devices allow.
  """
  at_least("mesh_data", data, 1)
  at_least("mesh_slots", slots, 1)
  devices = jax.devices() if devices is None else devices
  wanted, there = data * slots, len(devices)
  product = f"mesh_data × mesh_slots is {data} × {slots} = {wanted}"
  processes = len({device.process_index for device in devices})
  if processes > 1 and wanted != there:
    raise ValueError(
      f"{product}, but must be {there}, the number of devices of the "
      f"{processes} processes together: each has to compute a part."
    )
  if wanted > there:
    raise ValueError(
      f"{product}, but there {'is' if there == 1 else 'are'} {there} "
      f"{devices[0].platform} device{'s' * (there > 1)}. Lower one of them; on "
      "a CPU XLA_FLAGS=--xla_force_host_platform_device_count="
      f"{wanted} makes so many."
    )
  return Mesh(
    np.array(devices[:wanted]).reshape(data, slots),
    (DATA, SLOTS),
    axis_types=(AxisType.Auto, AxisType.Auto),
  )


def check_sizes(
  mesh: Mesh | AbstractMesh, batch_size: int, config: ModelConfig
) -> None:
  """Checks that a mesh divides a batch and a memory into equal parts.

  Args:
    mesh: Of `make_mesh`.
    batch_size: B.
    config: The model, with its number of slots.

  Raises:
    ValueError: It does not.
  """
  data, slots = mesh.shape[DATA], mesh.shape[SLOTS]
  if batch_size % data:
    raise ValueError(
      f"batch_size must be a multiple of mesh_data, {data}, got {batch_size}."
    )
  if config.core == "none" and slots > 1:
    raise ValueError(
      f"mesh_slots must be 1 where there is no memory, got {slots}."
    )
  if config.core != "none" and config.memory_size % slots:
    raise ValueError(
      f"memory_size must be a multiple of mesh_slots, {slots}, got "
      f"{config.memory_size}."
    )


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of what is whole on every device."""
  return NamedSharding(mesh, P())


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Returns arrays as every device has them, whole.

  Args:
    tree: Arrays, the same in every process.
    mesh: Of `make_mesh`.
  """
  return jax.tree.map(lambda x: _place(x, replicated(mesh)), tree)


def shard_batch(batch: _Sequences, mesh: Mesh) -> _Sequences:
  """Returns a batch whose sequences are divided over `DATA`.

  Args:
    batch: All of it, the same in every process. Each keeps the sequences of its
      own devices; nothing is sent.
    mesh: Of `make_mesh`.

  Raises:
    ValueError: Its sequences cannot be divided so.
  """
  return jax.tree.map(
    lambda spec, part: jax.tree.map(
      lambda x: _place(x, NamedSharding(mesh, spec)), part
    ),
    _specs(batch),
    batch,
  )


def slot_specs(state: Any) -> Any:
  """Returns how the state of a core is divided over `SLOTS`.

  Args:
    state: State of any core, or its shapes.

  Returns:
    A `jax.sharding.PartitionSpec` for each leaf: that of the axis that
    `SLOT_AXES` names. States of types that are not in it, such as a
    controller's, have no slots.
  """

  def of(value: Any, axis: int | None = None) -> Any:
    if isinstance(value, tuple):
      fields = getattr(value, "_fields", None)
      if fields is None:
        return tuple(of(x) for x in value)
      axes = SLOT_AXES.get(type(value), {})
      return type(value)(*(of(x, axes.get(n)) for n, x in zip(fields, value)))
    spec = P() if axis is None else P(*[None] * axis, SLOTS)
    return jax.tree.map(lambda _: spec, value)

  return of(state)


def divide(
  apply: Callable[[Any, Any, Any], Any], mesh: Mesh | None
) -> Callable[[Any, Any, Any], Any]:
  """Returns a network that does a part of the sequences on each device.

  Sequences know nothing of each other, so nothing crosses `DATA` before the
  end; of the gradient of the parameters the sum does, once.

  Args:
    apply: From parameters, key or None, and sequences: inputs ``[T, B, I]`` or
      `Episodes`, to arrays ``[T, B, ...]``.
    mesh: Of `make_mesh`; None to leave it as it is.
  """
  if mesh is None:
    return apply

  def local(params: Any, key: jax.Array | None, sequences: Any) -> Any:
    if key is not None and mesh.shape[DATA] > 1:
      key = jax.random.fold_in(key, jax.lax.axis_index(DATA))
    return apply(params, key, sequences)

  def divided(params: Any, key: jax.Array | None, sequences: Any) -> Any:
    # `DATA` is divided by hand: the partitioner, left to itself, would gather
    # the whole batch's usage at each step and add gradients up at each.
    return jax.shard_map(
      local,
      mesh=mesh,
      in_specs=(P(), P(), _specs(sequences)),
      out_specs=P(None, DATA),
      axis_names={DATA} if mesh.shape[SLOTS] > 1 else {DATA, SLOTS},
      check_vma=False,
    )(params, key, sequences)

  return divided


def constrain(
  core: Callable[[Any, Any], tuple[Any, Any]], mesh: Mesh | None
) -> Any:
  """Returns a core whose memory is divided over `SLOTS` at every step.

  For what `divide` is given.

  Args:
    core: Any function from inputs and state to outputs and state, such as an
      `hk.RNNCore`.
    mesh: Of `make_mesh`; None to leave the core as it is.
  """
  if mesh is None or mesh.shape[SLOTS] == 1:
    return core

  def place(state: Any) -> Any:
    return jax.lax.with_sharding_constraint(state, slot_specs(state))

  def step(inputs: Any, prev_state: Any) -> tuple[Any, Any]:
    outputs, state = core(inputs, place(prev_state))
    return outputs, place(state)

  return step


def _specs(sequences: Any) -> Any:
  """Returns how the sequences of a batch are divided, field by field."""
  # Of the fields of `Batch` and `Episodes` these do not begin with time.
  first = ("lesson", "world")
  if not hasattr(sequences, "_fields"):
    return P(None, DATA)
  return type(sequences)(
    *(P(DATA) if x in first else P(None, DATA) for x in sequences._fields)
  )


def _place(array: Any, sharding: NamedSharding) -> jax.Array:
  """Returns an array of which this process keeps its own devices' part."""
  whole = np.asarray(array)
  for size, axis in zip(whole.shape, sharding.spec):
    parts = 1 if axis is None else sharding.mesh.shape[axis]
    if size % parts:
      raise ValueError(
        f"batch_size must be a multiple of mesh_data, {parts}, got {size}."
      )
  return jax.make_array_from_callback(
    whole.shape, sharding, lambda index: whole[index]
  )
