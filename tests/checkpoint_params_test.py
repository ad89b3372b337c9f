"""Weights on their own, without the rest of a run."""

import sys
import zipfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from dnc_jax import checkpoint
from tests.checkpoint_case import FolderTestCase, assert_same_bits


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

  def test_numbers_of_16_bits_become_32_where_32_are_wanted(self):
    # 2049 lies between two numbers of 16 bits.
    half = {"dnc": {"w": jnp.array([0.5, 2049.0], jnp.float16)}}
    checkpoint.save_params(self.folder, half)
    full = {"dnc": {"w": jnp.zeros(2, jnp.float32)}}
    for like, dtype in ((full, jnp.float32), (half, jnp.float16)):
      loaded = checkpoint.load_params(self.folder, like)["dnc"]["w"]
      self.assertEqual(loaded.dtype, dtype)
      np.testing.assert_array_equal(loaded, [0.5, 2048.0])

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
