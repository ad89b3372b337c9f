"""A mesh: what it is made of, and where cores have their slots."""

import dataclasses

import haiku as hk
import jax
import numpy as np
from absl.testing import absltest, parameterized
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from dnc_jax import sharding
from dnc_jax.config import ModelConfig
from dnc_jax.losses import Batch
from scripts import scaled
from tests.cores import CORES

CONFIG = ModelConfig(output_size=3, memory_size=6)
NO_MEMORY = dataclasses.replace(CONFIG, core="none")


class _Device:
  """All that a mesh asks of a device when it is made."""

  platform = "cpu"

  def __init__(self, process_index):
    self.process_index = process_index


def shapes(core, memory_size):
  """Returns the shapes of a core's state, two sequences, and its tree."""
  network = hk.without_apply_rng(
    hk.transform(lambda: core.make(memory_size).initial_state(2))
  )

  def state():
    return network.apply(network.init(jax.random.key(0)))

  return jax.eval_shape(state)


class MeshTest(parameterized.TestCase):
  def test_one_device(self):
    mesh = sharding.make_mesh()
    self.assertEqual(dict(mesh.shape), {"data": 1, "slots": 1})
    self.assertEqual(mesh.devices.ravel().tolist(), jax.devices()[:1])

  @parameterized.parameters(
    ((0, 1), 1, "mesh_data must be at least 1, got 0"),
    ((1, -1), 1, "mesh_slots must be at least 1, got -1"),
    ((2, 3), 4, "mesh_data × mesh_slots is 2 × 3 = 6, but there are 4 cpu dev"),
    ((2, 1), 1, "is 2 × 1 = 2, but there is 1 cpu device. Lower"),
  )
  def test_what_devices_do_not_allow(self, shape, count, message):
    devices = [_Device(0)] * count
    with self.assertRaisesRegex(ValueError, message):
      sharding.make_mesh(shape[0], shape[1], devices)

  def test_every_device_of_several_processes_has_a_part(self):
    devices = [_Device(0), _Device(0), _Device(1), _Device(1)]
    with self.assertRaisesRegex(ValueError, "2 × 1 = 2, but must be 4, the"):
      sharding.make_mesh(2, 1, devices)

  @parameterized.parameters(
    ((4, 1), 6, CONFIG, "batch_size must be a multiple of mesh_data, 4, got 6"),
    ((1, 4), 8, CONFIG, "memory_size must be a multiple of mesh_slots, 4, got"),
    ((1, 2), 8, NO_MEMORY, "mesh_slots must be 1 where there is no memory"),
  )
  def test_sizes_that_it_does_not_divide(self, shape, size, config, message):
    mesh = jax.sharding.AbstractMesh(shape, ("data", "slots"))
    with self.assertRaisesRegex(ValueError, message):
      sharding.check_sizes(mesh, size, config)

  def test_sizes_that_it_divides(self):
    mesh = jax.sharding.AbstractMesh((4, 3), ("data", "slots"))
    sharding.check_sizes(mesh, 8, CONFIG)
    mesh = jax.sharding.AbstractMesh((4, 1), ("data", "slots"))
    sharding.check_sizes(mesh, 8, NO_MEMORY)

  def test_a_batch_is_placed_as_it_was(self):
    mesh = sharding.make_mesh()
    bits = np.arange(6.0).reshape(3, 2, 1)
    batch = Batch(bits, bits, bits[..., 0], np.zeros(2, int))
    placed = sharding.shard_batch(batch, mesh)
    for x, y in zip(placed, batch, strict=True):
      assert isinstance(x, jax.Array)
      np.testing.assert_array_equal(x, y)
      spec = P(None, "data") if y.ndim > 1 else P("data")
      self.assertEqual(x.sharding, NamedSharding(mesh, spec))


class SlotsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    # The state of freeness is an array, of which none could know what it is.
    *((name, core) for name, core in CORES.items() if name != "freeness")
  )
  def test_every_axis_of_slots_is_known(self, core):
    # More slots than any core of the table reads or links.
    states = [shapes(core, memory_size) for memory_size in (11, 13)]
    specs = jax.tree.leaves(
      sharding.slot_specs(states[0]), is_leaf=lambda x: isinstance(x, P)
    )
    few, many = (jax.tree.leaves(state) for state in states)
    for x, y, spec in zip(few, many, specs, strict=True):
      grown = [i for i, (n, m) in enumerate(zip(x.shape, y.shape)) if n != m]
      # Of a link matrix, the first of two.
      expected = [*[None] * grown[0], "slots"] if grown else []
      self.assertEqual(list(spec), expected)


class TrafficTest(absltest.TestCase):
  def test_bytes_are_those_of_the_text(self):
    text = """\
%body.1 (arg: f32[2]) -> f32[2] {
  %a = f32[8,3]{1,0} all-gather(%x), dimensions={0}
  %b = (f32[4]{0}, s32[2,5]{1,0}, /*index=2*/pred[]) all-reduce(%y, %z, %q)
  %c = f32[100]{0} add(%a, %all-reduce.7)
}

ENTRY %main (arg: f32[2]) -> f32[2] {
  %d = bf16[10]{0} all-reduce-start(%x), to_apply=%add
  %e = bf16[10]{0} all-reduce-done(%d)
}
"""
    found = scaled.traffic(text)
    self.assertEqual(found.per_step, {"all-gather": 96, "all-reduce": 57})
    self.assertEqual(found.once, {"all-reduce": 20})

  def test_powers_are_those_of_the_law(self):
    self.assertEqual(scaled.exponent([1, 2, 4], [3, 12, 48]), 2)
    self.assertEqual(scaled.exponent([16, 64], [10, 5]), -0.5)


if __name__ == "__main__":
  absltest.main()
