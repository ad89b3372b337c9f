"""A list of a folder's files by which damage to any of them is noticed."""

import hashlib
import json
import os
import pathlib
from typing import Any

MANIFEST = "manifest.json"
_FORMAT = 1


class DamagedError(Exception):
  """A folder is not as it was written; the message says in what way."""


def to_json(value: Any) -> bytes:
  """Returns a value as JSON, always in the same bytes."""
  return json.dumps(value, indent=1).encode() + b"\n"


def seal(folder: pathlib.Path, step: int) -> None:
  """Writes the manifest of a folder and sees all of it onto the disk.

  Args:
    folder: Folder with everything in it but the manifest.
    step: Number that the folder is to be known by.
  """
  files = sorted(path for path in folder.rglob("*") if path.is_file())
  manifest = {
    "format": _FORMAT,
    "step": step,
    "files": {
      path.relative_to(folder).as_posix(): _digest(path) for path in files
    },
  }
  (folder / MANIFEST).write_bytes(to_json(manifest))
  for path in (*folder.rglob("*"), folder):
    flush_to_disk(path)


def verify(folder: pathlib.Path, step: int) -> None:
  """Raises `DamagedError` unless a folder is as `seal` left it.

  Files that the manifest does not list are ignored: some systems add their own.

  Args:
    folder: Folder with a manifest.
    step: Number that the manifest should have.
  """
  try:
    data = (folder / MANIFEST).read_bytes()
  except OSError as error:
    raise DamagedError(f"{MANIFEST}: {error.strerror}") from error
  try:
    manifest = json.loads(data)
    form, number = manifest["format"], manifest["step"]
    digests = {str(k): str(v) for k, v in manifest["files"].items()}
    # A flipped bit that leaves the meaning alone is a flipped bit all the same.
    as_written = to_json(manifest) == data
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise DamagedError(f"{MANIFEST} cannot be understood") from error
  if not as_written:
    raise DamagedError(f"{MANIFEST} is not as it was written")
  if form != _FORMAT:
    raise DamagedError(f"{MANIFEST} has format {form}, not {_FORMAT}")
  if number != step:
    raise DamagedError(f"{MANIFEST} is of step {number}")
  for name, digest in digests.items():
    try:
      same = _digest(folder / name) == digest
    except OSError as error:
      raise DamagedError(f"{name}: {error.strerror}") from error
    if not same:
      raise DamagedError(f"{name} is not as it was written")


def flush_to_disk(path: pathlib.Path) -> None:
  """Makes a file, or the names in a folder, survive a loss of power."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _digest(path: pathlib.Path) -> str:
  """Returns the SHA-256 of a file in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
