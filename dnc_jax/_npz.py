"""Arrays by name in one NumPy file, the same bytes for the same values."""

import io
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays in alphabetical order."""
  # Not np.savez: whether that stamps the time is not for us to say.
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
    for name in sorted(arrays):
      data = io.BytesIO()
      np.lib.format.write_array(data, arrays[name], allow_pickle=False)
      info = zipfile.ZipInfo(name + ".npy", date_time=(1980, 1, 1, 0, 0, 0))
      archive.writestr(info, data.getvalue())


def read(
  path: pathlib.Path, dtypes: Mapping[str, np.dtype]
) -> dict[str, np.ndarray]:
  """Returns what `write` wrote; a damaged file raises one of many errors.

  Args:
    path: The file.
    dtypes: What is wanted, by name. Numbers of 16 bits where 32 are wanted were
      rounded to take less room, and become such of 32 again.
  """
  arrays = {}
  with zipfile.ZipFile(path) as archive:
    for name in archive.namelist():
      # Read whole, so that the checksum is compared before NumPy looks.
      data = io.BytesIO(archive.read(name))
      array = np.lib.format.read_array(data, allow_pickle=False)
      name = name.removesuffix(".npy")
      if (array.dtype, dtypes.get(name)) == (np.float16, np.float32):
        array = array.astype(np.float32)
      arrays[name] = array
  return arrays
