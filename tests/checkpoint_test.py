"""Checkpoints: what is kept, and what damage is noticed."""

import json
import math
import os
import pathlib
import shutil
import sys
import unittest
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from absl.testing import parameterized

from dnc_jax import _manifest, checkpoint
from tests.checkpoint_case import (
  FolderTestCase,
  assert_same_bits,
  damage,
  make_state,
)


class CheckpointsTest(FolderTestCase):
  def test_what_is_restored_is_what_was_saved(self):
    state = make_state()
    host = {"lesson": 3, "loss": math.pi, "names": ["ä"], "best": math.inf}
    checkpoints = checkpoint.Checkpoints(self.folder)
    self.assertIsNone(checkpoints.restore(state))
    checkpoints.save(12, state, host)
    for like in (make_state(1), jax.eval_shape(make_state)):
      restored = checkpoint.Checkpoints(self.folder).restore(like)
      assert restored is not None
      self.assertEqual(restored[0], 12)
      assert_same_bits(restored[1], state)
      self.assertEqual(restored[2], host)

  def test_special_values_keep_their_bits(self):
    tree = {
      "float32": np.array([np.nan, -0.0, np.inf, 1e-45, 0.1], np.float32),
      "float64": np.array(math.pi),
      "int64": np.array([2**62]),
      "bool": np.array([True, False]),
    }
    checkpoints = checkpoint.Checkpoints(self.folder)
    checkpoints.save(0, tree, {})
    restored = checkpoints.restore(tree)
    assert restored is not None
    assert_same_bits(restored[1], tree)

  def test_a_tree_without_numbers(self):
    checkpoints = checkpoint.Checkpoints(self.folder)
    checkpoints.save(1, (), {"lesson": 1})
    self.assertEqual(checkpoints.restore(()), (1, (), {"lesson": 1}))

  def test_a_restored_array_can_be_donated(self):
    state = {"w": jnp.arange(64.0)}
    checkpoints = checkpoint.Checkpoints(self.folder)
    checkpoints.save(1, state, {})
    restored = checkpoints.restore(state)
    assert restored is not None
    double = jax.jit(lambda x: {"w": 2 * x["w"]}, donate_argnums=0)
    np.testing.assert_array_equal(double(restored[1])["w"], np.arange(64.0) * 2)

  def test_fields_may_change_places(self):
    class Old(NamedTuple):
      a: jax.Array
      b: jax.Array

    class New(NamedTuple):
      b: jax.Array
      a: jax.Array

    checkpoints = checkpoint.Checkpoints(self.folder)
    checkpoints.save(1, Old(a=jnp.ones(2), b=jnp.zeros(2)), {})
    restored = checkpoints.restore(New(a=jnp.zeros(2), b=jnp.zeros(2)))
    assert restored is not None
    assert_same_bits(restored[1], New(a=jnp.ones(2), b=jnp.zeros(2)))

  @unittest.skipUnless(os.path.isdir("/proc/self/fd"), "needs Linux's /proc")
  def test_all_of_it_is_on_the_disk_before_it_has_its_name(self):
    flushed = []
    self.fsync.side_effect = lambda descriptor: flushed.append(
      pathlib.Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
    )
    checkpoint.Checkpoints(self.folder).save(1, {"w": np.ones(2)}, {})
    root = self.folder / "00000001"
    expected = sorted(path.name for path in root.rglob("*"))
    self.assertEqual(sorted(flushed[:-2]), expected)
    self.assertEqual(flushed[-2:], [".tmp-00000001", "checkpoints"])

  def test_only_the_newest_are_kept(self):
    checkpoints = checkpoint.Checkpoints(self.folder, keep=2)
    for step in (1, 2, 3, 20, 100):
      checkpoints.save(step, {"w": np.full(2, step)}, {})
    self.assertEqual(checkpoints.steps(), [20, 100])
    self.assertEqual(self.names(), ["00000020", "00000100"])
    for step in (20, 100):
      restored = checkpoints.restore({"w": np.zeros(2, int)}, step=step)
      assert restored is not None
      self.assertEqual(restored[0], step)
      np.testing.assert_array_equal(restored[1]["w"], [step, step])

  def test_a_step_can_be_saved_again(self):
    checkpoints = checkpoint.Checkpoints(self.folder, keep=2)
    for step, value in ((1, 0), (2, 0), (2, 1), (2, 2)):
      checkpoints.save(step, {"w": np.asarray(value)}, {"value": value})
    self.assertEqual(checkpoints.steps(), [1, 2])
    self.assertLen(self.names(), 2)
    restored = checkpoints.restore({"w": np.asarray(0)})
    self.assertEqual(restored, (2, {"w": np.asarray(2)}, {"value": 2}))

  def test_going_back_deletes_neither_the_past_nor_the_future(self):
    checkpoints = checkpoint.Checkpoints(self.folder, keep=3)
    for step in (10, 20, 30, 15):
      checkpoints.save(step, {"w": np.asarray(step)}, {})
    self.assertEqual(checkpoints.steps(), [10, 15, 20, 30])

  def test_a_step_that_does_not_exist_is_answered_with_those_that_do(self):
    checkpoints = checkpoint.Checkpoints(self.folder)
    with self.assertRaisesRegex(checkpoint.CheckpointError, "but of: none"):
      checkpoints.restore({}, step=5)
    for step in (1, 2):
      checkpoints.save(step, {"w": np.asarray(0)}, {})
    with self.assertRaisesRegex(checkpoint.CheckpointError, "5 .*of: 1, 2"):
      checkpoints.restore({"w": np.asarray(0)}, step=5)

  @parameterized.named_parameters(
    ("shape", {"a": {"w": np.zeros((3, 2))}}, r"\[2, 3\].*\[3, 2\]"),
    ("rank", {"a": {"w": np.zeros(6)}}, r"\[2, 3\].*\[6\]"),
    (
      "dtype",
      {"a": {"w": np.zeros((2, 3), np.float32)}},
      r"float64\[2, 3\] there and float32\[2, 3\] in this model",
    ),
    ("structure", [np.zeros((2, 3))], r"\[0\] is missing there"),
    ("fewer", {}, r"float64\[2, 3\] there and missing in this model"),
    (
      "more",
      {"a": {"v": np.zeros(5), "w": np.zeros((2, 3))}},
      r"missing there and float64\[5\] in this model",
    ),
  )
  def test_another_model_is_refused_by_its_first_leaf(self, like, message):
    checkpoints = checkpoint.Checkpoints(self.folder)
    for step in (1, 2):
      checkpoints.save(step, {"a": {"w": np.zeros((2, 3))}}, {})
    with (
      self.assertRaisesRegex(checkpoint.CheckpointError, message) as caught,
      self.assertNoLogs("absl"),
    ):
      checkpoints.restore(like)
    self.assertRegex(str(caught.exception), r"00000002 is of another model: \[")
    self.assertNotIn("\n", str(caught.exception))

  def test_what_cannot_be_saved_is_refused_and_leaves_nothing(self):
    checkpoints = checkpoint.Checkpoints(self.folder)
    with self.assertRaisesRegex(checkpoint.CheckpointError, "host .* JSON"):
      checkpoints.save(1, {"w": np.zeros(2)}, {"x": np.float32(1)})
    with self.assertRaisesRegex(checkpoint.CheckpointError, "key_data"):
      checkpoints.save(1, {"k": jax.random.key(0)}, {})
    with self.assertRaisesRegex(ValueError, "step must be at least 0"):
      checkpoints.save(-1, {"w": np.zeros(2)}, {})
    with self.assertRaisesRegex(ValueError, "keep must be at least 1"):
      checkpoint.Checkpoints(self.folder, keep=0)
    self.assertFalse(self.folder.exists())

  def test_a_folder_below_a_file_is_one_line(self):
    self.folder.write_text("a file")
    for folder in (self.folder, self.folder / "a" / "b"):
      with self.assertRaisesRegex(
        checkpoint.CheckpointError, "checkpoints is a file[^\n]*$"
      ):
        checkpoint.Checkpoints(folder)

  def test_a_folder_that_became_unwritable_is_one_line(self):
    checkpoints = checkpoint.Checkpoints(self.folder / "run")
    self.folder.write_text("a file")
    with self.assertRaisesRegex(
      checkpoint.CheckpointError, "^cannot save step 3 in [^\n]*$"
    ):
      checkpoints.save(3, {"w": np.zeros(2)}, {})

  @parameterized.parameters("arrays", "host.json", "manifest.json")
  def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint(self, name):
    checkpoints = checkpoint.Checkpoints(self.folder)
    checkpoints.save(1, {"w": np.ones(2)}, {})
    full = OSError(28, "No space left on device")
    write_bytes = pathlib.Path.write_bytes

    def fail(path, data):
      if path.name == name:
        raise full
      return write_bytes(path, data)

    target = checkpoints._orbax.Checkpointer
    with (
      mock.patch.object(pathlib.Path, "write_bytes", fail)
      if name != "arrays"
      else mock.patch.object(target, "save", side_effect=full),
      self.assertRaisesRegex(checkpoint.CheckpointError, "No space left"),
    ):
      checkpoints.save(2, {"w": np.ones(2)}, {})
    self.assertEqual(self.names(), ["00000001"])

  def test_a_missing_orbax_is_one_line_that_says_what_to_install(self):
    with (
      mock.patch.dict(sys.modules, {"orbax": None, "orbax.checkpoint": None}),
      self.assertRaisesRegex(
        checkpoint.CheckpointError, r'^[^\n]*pip install "dnc-jax\[train\]"$'
      ),
    ):
      checkpoint.Checkpoints(self.folder)

  def test_orbax_does_not_talk_in_the_runs_log(self):
    before = logging.get_verbosity()
    self.addCleanup(logging.set_verbosity, before)
    checkpoints = checkpoint.Checkpoints(self.folder)
    with self.assertNoLogs("absl", "INFO"):
      logging.set_verbosity(logging.INFO)
      checkpoints.save(1, {"w": np.ones(2)}, {})
      checkpoints.restore({"w": np.ones(2)})
    with self.assertLogs("absl", "INFO"):
      logging.info("The run's own lines still come through.")


class DamageTest(FolderTestCase):
  def setUp(self):
    super().setUp()
    self.like = {"w": np.zeros(3), "b": np.zeros((), np.int32)}
    self.checkpoints = checkpoint.Checkpoints(self.folder)
    for step in (1, 2):
      self.checkpoints.save(
        step, {"w": np.full(3, step * 0.1), "b": np.int32(step)}, {"s": step}
      )

  def files(self, step):
    root = self.folder / f"{step:08d}"
    return sorted(path for path in root.rglob("*") if path.is_file())

  @parameterized.parameters("delete", "truncate", "flip")
  def test_any_damaged_file_is_noticed_and_passed_over(self, kind):
    files = self.files(2)
    self.assertGreater(len(files), 5)
    for path in files:
      data = path.read_bytes()
      if not data and kind != "delete":
        continue
      with self.subTest(path.name):
        damage(path, kind)
        with self.assertLogs("absl", "WARNING") as logs:
          restored = self.checkpoints.restore(self.like)
        assert restored is not None
        self.assertEqual(restored[0], 1)
        np.testing.assert_array_equal(restored[1]["w"], np.full(3, 0.1))
        self.assertEqual(restored[2], {"s": 1})
        self.assertLen(logs.output, 1)
        self.assertRegex(logs.output[0], "00000002 is damaged and is passed")
        # A manifest that is wrong about a file may blame that file.
        reason = "00000002" if path.name == "manifest.json" else path.name
        self.assertRegex(logs.output[0], reason)
        self.assertEqual(self.checkpoints.steps(), [1])
        with self.assertRaisesRegex(checkpoint.CheckpointError, reason):
          self.checkpoints.restore(self.like, step=2)
      path.write_bytes(data)
    self.assertEqual(self.checkpoints.steps(), [1, 2])

  def test_a_flipped_bit_in_the_manifest_is_noticed(self):
    path = self.folder / "00000002" / "manifest.json"
    data = path.read_bytes()
    for place in range(0, len(data), 3):
      flipped = bytearray(data)
      flipped[place] ^= 1 << (place % 8)
      path.write_bytes(flipped)
      with self.assertRaises(_manifest.DamagedError):
        _manifest.verify(path.parent, 2)

  def test_a_manifest_cut_anywhere_is_noticed(self):
    path = self.folder / "00000002" / "manifest.json"
    data = path.read_bytes()
    for size in (*range(0, len(data), 17), len(data) - 1):
      path.write_bytes(data[:size])
      with self.assertRaises(_manifest.DamagedError):
        _manifest.verify(path.parent, 2)

  @parameterized.parameters(
    "null", "[]", "{}", '{"format": 1, "step": 2, "files": 3}'
  )
  def test_another_file_in_the_manifests_place_is_noticed(self, text):
    (self.folder / "00000002" / "manifest.json").write_text(text)
    self.assertEqual(self.checkpoints.steps(), [1])

  def test_a_later_format_is_not_guessed_at(self):
    path = self.folder / "00000002" / "manifest.json"
    manifest = json.loads(path.read_bytes())
    path.write_bytes(_manifest.to_json(manifest | {"format": 99}))
    with self.assertLogs("absl", "WARNING") as logs:
      self.checkpoints.restore(self.like)
    self.assertIn("format 99", logs.output[0])

  def test_a_renamed_checkpoint_is_noticed(self):
    (self.folder / "00000002").rename(self.folder / "00000003")
    self.assertEqual(self.checkpoints.steps(), [1])

  def test_what_orbax_cannot_read_is_passed_over(self):
    # As after a change of Orbax's format: the files are what they should be.
    root = self.folder / "00000002"
    shutil.rmtree(root / "arrays")
    (root / "manifest.json").unlink()
    _manifest.seal(root, 2)
    with self.assertLogs("absl", "WARNING") as logs:
      restored = self.checkpoints.restore(self.like)
    assert restored is not None
    self.assertEqual(restored[0], 1)
    self.assertIn("Orbax", logs.output[0])

  def test_no_whole_checkpoint_is_one_line_with_each_reason(self):
    damage(self.files(1)[-1], "flip")
    (self.folder / "00000002" / "host.json").unlink()
    with (
      self.assertLogs("absl", "WARNING") as logs,
      self.assertRaisesRegex(
        checkpoint.CheckpointError,
        r"^no whole .*00000002 \(host.json.*00000001 \(tree.json[^\n]*$",
      ),
    ):
      self.checkpoints.restore(self.like)
    self.assertLen(logs.output, 2)

  def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(self):
    (self.folder / "00000002" / "host.json").unlink()
    self.checkpoints.save(2, self.like, {"s": "again"})
    with self.assertNoLogs("absl", "WARNING"):
      restored = self.checkpoints.restore(self.like)
    assert restored is not None
    self.assertEqual((restored[0], restored[2]), (2, {"s": "again"}))
    self.assertLen(self.names(), 2)

  def test_files_of_others_do_no_harm(self):
    (self.folder / "00000002" / ".DS_Store").write_text("")
    (self.folder / "notes.txt").write_text("")
    (self.folder / "00000009").write_text("")
    (self.folder / "best").mkdir()
    self.assertEqual(self.checkpoints.steps(), [1, 2])
