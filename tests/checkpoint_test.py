"""Tests of saving and restoring, with kills and damage."""

import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import unittest
import zipfile
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from absl.testing import absltest, parameterized

from dnc_jax import _manifest, checkpoint


class State(NamedTuple):
  params: dict
  opt_state: optax.OptState
  step: jax.Array
  empty: jax.Array
  nothing: None = None


def make_state(seed=0):
  """A state with every kind of leaf that training has, none of them zero."""
  keys = iter(jax.random.split(jax.random.key(seed), 4))
  params = {
    "dnc/~/lstm": {"w": jax.random.normal(next(keys), (3, 4))},
    "dnc.x": {"y.z": jax.random.normal(next(keys), (5,), jnp.bfloat16)},
    "no_params": {},
  }
  optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
  opt_state = optimiser.init(params)
  opt_state = jax.tree_util.tree_map(lambda x: x + 3, opt_state)
  bits = jax.random.bits(next(keys), (2,), jnp.uint32)
  return State(params, (opt_state, bits), jnp.asarray(7), jnp.zeros((0, 2)))


def assert_same_bits(actual, expected):
  """Like equality, but NaN equals NaN and 0 does not equal -0."""
  assert jax.tree_util.tree_structure(actual) == jax.tree_util.tree_structure(
    expected
  )
  for x, y in zip(
    jax.tree_util.tree_leaves(actual), jax.tree_util.tree_leaves(expected)
  ):
    assert type(x) is type(y), (type(x), type(y))
    assert (x.dtype, x.shape) == (y.dtype, y.shape), (x, y)
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), (x, y)


def damage(path, kind):
  data = bytearray(path.read_bytes())
  if kind == "delete":
    path.unlink()
  elif kind == "truncate":
    path.write_bytes(data[: len(data) // 2])
  elif kind == "flip":
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


class FolderTestCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path) / "checkpoints"
    # A loss of power cannot be tested here, and a busy disk makes it slow.
    self.fsync = self.enter_context(mock.patch.object(os, "fsync"))

  def names(self):
    return sorted(path.name for path in self.folder.iterdir())


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


# Saves in forks of itself, which are killed: first at every so manieth file
# operation of a save, then at random moments. A fork need not import anew.
KILLED = """
import os, random, signal, sys, time, traceback
import numpy as np
from dnc_jax import checkpoint

os.fsync = lambda descriptor: None  # Kills do not lose what it would save.
folder, every, at_random = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
checkpoints = checkpoint.Checkpoints(folder, keep=2)
like = {"w": np.zeros((7, 5)), "n": np.zeros((), np.int32)}
OPERATIONS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "open")

def tree(step):
  return {"w": np.full((7, 5), step / 3), "n": np.int32(step)}

def fork(function):
  sys.stdout.flush()
  pid = os.fork()
  if not pid:
    code = 1
    try:
      function()
      code = 0
    except BaseException:
      traceback.print_exc()
    finally:
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(code)
  return pid

def newest():
  restored = checkpoints.restore(like)
  return (0, None, None) if restored is None else restored

def save_and_die(operation):
  step = newest()[0] + 1
  left = operation
  def hook(event, args):
    nonlocal left
    if event in OPERATIONS:
      left -= 1
      if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
  sys.addaudithook(hook)
  checkpoints.save(step, tree(step), {"step": step})

def save_forever():
  step = newest()[0]
  while True:
    step += 1
    checkpoints.save(step, tree(step), {"step": step})
    os.write(report, b"%d\\n" % step)

def check(least):
  step, arrays, host = newest()
  assert step >= least, (step, least)
  if step:
    assert host == {"step": step}
    for name, value in tree(step).items():
      np.testing.assert_array_equal(arrays[name], value, strict=True)
  # Every other checkpoint that is there is whole too.
  there = os.listdir(folder) if os.path.isdir(folder) else []
  names = [name for name in there if name[0] != "."]
  assert len(names) == len(checkpoints.steps()), names
  print("newest", step)

def wait(pid):
  return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

operation, killed = 1, -signal.SIGKILL
while True:
  code = wait(fork(lambda: save_and_die(operation)))
  assert code in (0, killed), code
  assert wait(fork(lambda: check(0))) == 0
  print("operation", operation, code)
  if not code:
    break
  operation += every

random.seed(0)
for _ in range(at_random):
  read, report = os.pipe()
  pid = fork(save_forever)
  os.close(report)
  with os.fdopen(read) as file:
    least = int(file.readline())
    time.sleep(random.uniform(0, 0.1))
    os.kill(pid, signal.SIGKILL)
    assert wait(pid) == killed
    least = max([least, *map(int, file)])
  assert wait(fork(lambda: check(least))) == 0
  print("random", least)

assert wait(fork(lambda: checkpoints.save(10**6, like, {}))) == 0
print("left", *sorted(os.listdir(folder)))
"""


class KillTest(FolderTestCase):
  def test_a_kill_at_any_moment_leaves_whole_checkpoints_only(self):
    done = subprocess.run(
      [sys.executable, "-c", KILLED, str(self.folder), "7", "5"],
      cwd=pathlib.Path(__file__).parents[1],
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
      capture_output=True,
      text=True,
      timeout=120,
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertNotIn("damaged", done.stderr)
    lines = done.stdout.splitlines()
    kills = [line for line in lines if line.startswith("operation")]
    self.assertGreater(len(kills), 10, done.stdout)
    self.assertLen([x for x in lines if x.startswith("random")], 5)
    # The last save removed what the kills had left.
    self.assertRegex(lines[-1], r"^left \d{8} 01000000$")


class ParamsTest(FolderTestCase):
  def setUp(self):
    super().setUp()
    self.params = {
      "dnc/~/lstm/linear": {"w": jnp.ones((3, 4)) / 3, "b": jnp.zeros(4)},
      "dnc/read_key": {"w": jnp.arange(6).reshape(2, 3)},
      "nothing": {},
    }

  def test_what_is_loaded_is_what_was_saved(self):
    path = checkpoint.save_params(self.folder, self.params)
    self.assertEqual(path, self.folder / "weights.npz")
    self.assertEqual(self.names(), ["weights.npz"])
    like = jax.eval_shape(lambda: self.params)
    assert_same_bits(checkpoint.load_params(self.folder, like), self.params)
    with np.load(path, allow_pickle=False) as arrays:
      self.assertEqual(
        list(arrays), ["dnc/read_key/w", "dnc/~/lstm/linear/b",
                       "dnc/~/lstm/linear/w"],
      )  # fmt: skip
      np.testing.assert_array_equal(arrays["dnc/~/lstm/linear/b"], np.zeros(4))

  def test_the_same_weights_give_the_same_bytes(self):
    first = checkpoint.save_params(self.folder, self.params).read_bytes()
    other_order = dict(reversed(self.params.items()))
    with mock.patch("time.time", return_value=2e9):
      path = checkpoint.save_params(self.folder, other_order)
    self.assertEqual(path.read_bytes(), first)

  def test_orbax_is_not_needed(self):
    with mock.patch.dict(sys.modules, {"orbax": None}):
      checkpoint.save_params(self.folder, self.params)
      checkpoint.load_params(self.folder, self.params)

  @parameterized.named_parameters(
    (
      "missing",
      {"dnc": {"w": np.zeros(2), "v": np.zeros(1)}},
      "dnc/v is missing there and float64[1] in this model",
    ),
    (
      "superfluous",
      {},
      "dnc/w is float64[2] there and missing in this model",
    ),
    (
      "shape",
      {"dnc": {"w": np.zeros((2, 1))}},
      "dnc/w is float64[2] there and float64[2, 1] in this model",
    ),
    (
      "dtype",
      {"dnc": {"w": np.zeros(2, np.int32)}},
      "dnc/w is float64[2] there and int32[2] in this model",
    ),
  )
  def test_another_model_is_refused_by_name(self, like, message):
    checkpoint.save_params(self.folder, {"dnc": {"w": np.zeros(2)}})
    with self.assertRaises(checkpoint.CheckpointError) as caught:
      checkpoint.load_params(self.folder, like)
    self.assertIn(message, str(caught.exception))

  def test_a_damaged_file_is_never_loaded_as_something_else(self):
    params = {"dnc": {"w": jnp.arange(3.0)}}
    path = checkpoint.save_params(self.folder, params)
    data = path.read_bytes()
    refused = 0
    for place in range(len(data)):
      flipped = bytearray(data)
      flipped[place] ^= 1 << (place % 8)
      for damaged in (flipped, data[:place]):
        path.write_bytes(damaged)
        try:
          loaded = checkpoint.load_params(self.folder, params)
        except checkpoint.CheckpointError as error:
          refused += 1
          self.assertNotIn("\n", str(error))
        else:
          # A zip file has bytes that mean nothing, such as dates.
          assert_same_bits(loaded, params)
    self.assertGreater(refused, 1.5 * len(data))

  def test_a_pickle_is_not_opened(self):
    self.folder.mkdir()
    with (
      zipfile.ZipFile(self.folder / "weights.npz", "w") as archive,
      archive.open("dnc/w.npy", "w") as file,
    ):
      np.lib.format.write_array(file, np.array([print], dtype=object))
    with self.assertRaisesRegex(checkpoint.CheckpointError, "allow_pickle"):
      checkpoint.load_params(self.folder, {"dnc": {"w": np.zeros(1)}})

  def test_a_missing_file_is_one_line(self):
    with self.assertRaisesRegex(
      checkpoint.CheckpointError, "^cannot read [^\n]*weights.npz: [^\n]*$"
    ):
      checkpoint.load_params(self.folder, self.params)

  def test_what_cannot_be_saved_is_refused(self):
    with self.assertRaisesRegex(checkpoint.CheckpointError, "a/w .*bfloat16"):
      checkpoint.save_params(
        self.folder, {"a": {"w": jnp.zeros(1, "bfloat16")}}
      )
    with self.assertRaisesRegex(checkpoint.CheckpointError, "called a/b/c"):
      checkpoint.save_params(
        self.folder, {"a": {"b/c": np.zeros(1)}, "a/b": {"c": np.zeros(1)}}
      )
    self.assertFalse(self.folder.exists())
    self.folder.write_text("a file")
    with self.assertRaisesRegex(checkpoint.CheckpointError, "cannot write"):
      checkpoint.save_params(self.folder / "x", self.params)

  def test_the_file_is_stored_without_compression(self):
    # Another zlib may compress to other bytes.
    path = checkpoint.save_params(self.folder, self.params)
    with zipfile.ZipFile(path) as archive:
      kinds = {info.compress_type for info in archive.infolist()}
    self.assertEqual(kinds, {zipfile.ZIP_STORED})


if __name__ == "__main__":
  absltest.main()
