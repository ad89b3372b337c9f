"""Checkpoints that survive a kill and know when they are damaged.

A folder of checkpoints looks like this::

    checkpoints/
      00001200/
        arrays/          the leaves of the tree, written by Orbax
        tree.json        name, shape and dtype of each leaf
        host.json        the host's state: curriculum, metrics, ...
        manifest.json    the step, and the SHA-256 of every other file

A checkpoint is written into a hidden folder and renamed when it is whole, so
it is there entirely or not at all. It is read only if every file is as the
manifest says: a disk that cuts a file short or flips a bit is noticed, and the
checkpoint before is taken instead. Leaves are read into the host's memory,
so that a run begun on a GPU can be continued on a CPU, and one of several
processes by another number of them: `Checkpoints` is then called by all, and
the folder must be one that all see.

`save_params` and `load_params` are for weights on their own, as one NumPy file
that needs no Orbax.

This is the only module that imports Orbax, and it does so late: to import it
takes neither the package nor the half second.
"""

import contextlib
import json
import logging as python_logging
import operator
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from dnc_jax import _leaves, _manifest, _npz, processes
from dnc_jax._checks import at_least

_TEMPORARY = ".tmp-"
# The second number is there where a step was saved again.
_FOLDER = re.compile(r"(\d{8,})(?:-(\d+))?")
_WEIGHTS = "weights.npz"


class CheckpointError(ValueError):
  """A checkpoint cannot be written, or cannot be read into this model."""


class Checkpoints:
  """The checkpoints of one run, newest first.

  >>> import tempfile
  >>> folder = tempfile.TemporaryDirectory()
  >>> checkpoints = Checkpoints(folder.name)
  >>> checkpoints.save(7, {"w": jnp.ones(2)}, {"lesson": 3})
  >>> step, arrays, host = checkpoints.restore({"w": jnp.zeros(2)})
  >>> step, arrays["w"], host
  (7, Array([1., 1.], dtype=float32), {'lesson': 3})
  >>> folder.cleanup()
  """

  def __init__(self, folder: str | os.PathLike[str], *, keep: int = 3):
    """Opens a folder of checkpoints; it is made at the first `save`.

    Args:
      folder: Where the checkpoints are.
      keep: How many to keep, at least 1. To pass over a damaged one takes more.

    Raises:
      CheckpointError: If Orbax is not installed, or the folder is below a file.
    """
    if keep < 1:
      raise ValueError(
        f"keep must be at least 1, got {keep}. To keep none, save none."
      )
    self._folder = pathlib.Path(folder).absolute()
    self._keep = keep
    # A run should hear of this before its first hour of training, not after.
    for path in (self._folder, *self._folder.parents):
      if path.exists() and not path.is_dir():
        raise CheckpointError(
          f"folder {self._folder} cannot hold checkpoints: {path} is a file. "
          "Choose another folder."
        )
    self._orbax = _import_orbax()

  def save(self, step: int, arrays: Any, host: Mapping[str, Any]) -> None:
    """Writes a checkpoint, then deletes those beyond the number to keep.

    Returns once the checkpoint is whole and on the disk. A process killed
    before that leaves the earlier checkpoints as they were. Checkpoints of
    later steps are left alone.

    Args:
      step: Number of updates made so far, at least 0. Where there is a
        checkpoint of this step already, the new one takes its place.
      arrays: Pytree of arrays, of any structure.
      host: What else the run needs, as JSON can write it: dictionaries with
        string keys, lists, strings, numbers, booleans and None. Floats come
        back exactly.

    Raises:
      CheckpointError: If ``host`` is not JSON or the folder cannot be written,
        or not every process sees it.
    """
    step = at_least("step", operator.index(step), 0)
    try:
      host_bytes = _manifest.to_json(dict(host))
    except (TypeError, ValueError) as error:
      raise CheckpointError(
        f"host cannot be saved as JSON: {_one_line(error)}"
      ) from error
    leaves, entries = _read_leaves(arrays)
    attempts = [a for s, a, _ in self._folders() if s == step]
    attempt = processes.numbers(max(attempts) + 1 if attempts else 0)[0]
    name = f"{step:08d}" + (f"-{attempt}" if attempt else "")
    temporary = self._folder / (_TEMPORARY + name)

    def begin() -> None:
      self._folder.mkdir(parents=True, exist_ok=True)
      self._remove_temporary()
      temporary.mkdir()
      (temporary / "host.json").write_bytes(host_bytes)
      (temporary / "tree.json").write_bytes(_manifest.to_json(entries))

    def finish() -> None:
      _manifest.seal(temporary, step)
      temporary.rename(self._folder / name)
      _manifest.flush_to_disk(self._folder)

    try:
      processes.first_does(begin)
      self._check_shared(temporary)
      # Orbax refuses arrays without elements, and trees without arrays.
      stored = {_key(i): x for i, x in enumerate(leaves) if x.size}
      if stored:
        args = self._orbax.args.StandardSave(stored)
        with self._checkpointer() as checkpointer:
          checkpointer.save(temporary / "arrays", args=args)
      processes.first_does(finish)
    except Exception as error:  # Orbax reports a full disk in several ways.
      if processes.tells_of_loss(error):
        raise  # Nothing is wrong with the folder.
      if processes.is_first():
        shutil.rmtree(temporary, ignore_errors=True)
      raise CheckpointError(
        f"cannot save step {step} in {self._folder}: {_one_line(error)} "
        "Is the folder writable, and the disk not full?"
      ) from error
    if processes.is_first():
      self._remove_old(step)

  def steps(self) -> list[int]:
    """Returns the steps of which there is a whole checkpoint, oldest first."""
    whole = set()
    for step, _, path in self._folders():
      with contextlib.suppress(_manifest.DamagedError):
        _manifest.verify(path, step)
        whole.add(step)
    return sorted(whole)

  def restore(
    self, like: Any, step: int | None = None
  ) -> tuple[int, Any, dict[str, Any]] | None:
    """Returns the newest checkpoint that is whole, or that of a given step.

    A damaged checkpoint is passed over with a warning, unless it was asked for
    by its step.

    Args:
      like: Pytree of arrays, or of `jax.ShapeDtypeStruct` as `jax.eval_shape`
        gives, with the structure, shapes and dtypes that are expected.
      step: Which step to take; None for the newest.

    Returns:
      ``(step, arrays, host)``, or None if there is no checkpoint at all. The
      arrays have the structure of ``like`` and the bits that were saved. Where
      ``like`` has NumPy arrays they are NumPy arrays, else `jax.Array` on the
      default device.

    Raises:
      CheckpointError: If no checkpoint is whole, the one asked for does not
        exist or is damaged, or it is of a model that differs from ``like``; or
        if processes find different ones.
    """
    restored = self._restore(like, step)
    steps = processes.numbers(-1 if restored is None else restored[0])
    if len(set(steps)) > 1:
      told = ", ".join("none" if x < 0 else str(x) for x in steps)
      raise CheckpointError(
        f"processes find checkpoints of different steps in {self._folder}: "
        f"{told}. Choose a folder that all of them see."
      )
    return restored

  def _restore(
    self, like: Any, step: int | None
  ) -> tuple[int, Any, dict[str, Any]] | None:
    """Returns what `restore` does, as this process finds it."""
    found = self._folders()
    if step is not None:
      chosen = [entry for entry in found if entry[0] == step]
      if not chosen:
        steps = ", ".join(str(s) for s in sorted({s for s, _, _ in found}))
        raise CheckpointError(
          f"there is no checkpoint of step {step} in {self._folder}, but of: "
          f"{steps or 'none'}."
        )
      found = chosen
    reasons = []
    for number, _, path in sorted(found, reverse=True):
      try:
        return number, *self._read(path, number, like)
      except _manifest.DamagedError as error:
        reasons.append(f"{path.name} ({error})")
        if step is None:
          logging.warning(
            "Checkpoint %s is damaged and is passed over: %s", path, error
          )
    if reasons:
      raise CheckpointError(
        f"no whole checkpoint in {self._folder}: {'; '.join(reasons)}. To "
        "start anew, choose another folder."
      )
    return None

  def _check_shared(self, temporary: pathlib.Path) -> None:
    """Raises an `OSError` unless every process sees what the first made."""
    seen = processes.numbers(temporary.is_dir())
    if not all(seen):
      raise OSError(
        f"process {seen.index(0)} does not see what process 0 writes there; "
        "choose a folder that all of them see."
      )

  def _folders(self) -> list[tuple[int, int, pathlib.Path]]:
    """Returns step, attempt and path of each checkpoint, in that order."""
    if not self._folder.is_dir():
      return []
    found = []
    for path in self._folder.iterdir():
      match = _FOLDER.fullmatch(path.name)
      if match and path.is_dir():
        found.append((int(match[1]), int(match[2] or 0), path))
    return sorted(found)

  def _read(self, path: pathlib.Path, step: int, like: Any) -> tuple[Any, Any]:
    """Returns the arrays and the host's state of one checkpoint."""
    _manifest.verify(path, step)
    wanted, treedef = jax.tree_util.tree_flatten_with_path(like)
    entries = json.loads((path / "tree.json").read_bytes())
    host = json.loads((path / "host.json").read_bytes())
    _check_same_model(
      path,
      entries,
      [_leaves.describe(_leaves.leaf_name(k), x) for k, x in wanted],
    )
    empty = {
      _key(i): np.zeros(entry["shape"], jnp.dtype(entry["dtype"]))
      for i, entry in enumerate(entries)
    }
    stored = {key: x for key, x in empty.items() if x.size}
    if stored:
      args = self._orbax.args.StandardRestore(stored)
      try:
        with self._checkpointer() as checkpointer:
          stored = checkpointer.restore(path / "arrays", args=args)
      except Exception as error:  # Orbax has no class of its own for these.
        raise _manifest.DamagedError(f"Orbax: {_one_line(error)}") from error
    # By name, so that the fields of a state may change places.
    keys = {entry["name"]: _key(i) for i, entry in enumerate(entries)}
    leaves = []
    for leaf_path, old in wanted:
      key = keys[_leaves.leaf_name(leaf_path)]
      new = stored.get(key, empty[key])
      on_host = isinstance(old, np.ndarray | np.generic | int | float)
      # Copied, since a buffer shared with NumPy must not be donated.
      leaves.append(new if on_host else jnp.array(new, copy=True))
    return jax.tree_util.tree_unflatten(treedef, leaves), host

  @contextlib.contextmanager
  def _checkpointer(self) -> Iterator[Any]:
    """Gives Orbax's writer and reader of trees."""
    with _quiet():
      handler = self._orbax.StandardCheckpointHandler()
      with self._orbax.Checkpointer(handler) as checkpointer:
        yield checkpointer

  def _remove_temporary(self) -> None:
    """Removes what a killed `save` left behind."""
    for path in self._folder.glob(_TEMPORARY + "*"):
      shutil.rmtree(path, ignore_errors=True)

  def _remove_old(self, step: int) -> None:
    """Removes the checkpoints that the one of ``step`` makes superfluous."""
    found = [entry for entry in self._folders() if entry[0] <= step]
    newest = {number: path for number, _, path in found}
    kept = {newest[number] for number in sorted(newest)[-self._keep :]}
    for _, _, path in found:
      if path not in kept:
        # Renamed first: half a deletion must not look like a checkpoint.
        doomed = self._folder / (_TEMPORARY + "old-" + path.name)
        with contextlib.suppress(OSError):
          path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def save_params(folder: str | os.PathLike[str], params: Any) -> pathlib.Path:
  """Writes parameters as ``weights.npz``: the same bytes for the same values.

  Args:
    folder: Where to write; made if need be.
    params: Nested dictionaries of arrays, ``{module: {name: array}}`` as Haiku
      gives. Stored under ``"module/name"``, in alphabetical order.

  Returns:
    The path of the file.

  Raises:
    CheckpointError: If the file cannot be written, or a dtype is not NumPy's.
  """
  arrays = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    array = np.asarray(leaf)
    name = _leaves.param_name(path)
    if array.dtype.kind not in "biufc":
      raise CheckpointError(
        f"parameter {name} has dtype {array.dtype}, which {_WEIGHTS} cannot "
        "hold. Cast it to float32."
      )
    if name in arrays:
      raise CheckpointError(f"two parameters are called {name}. Rename one.")
    arrays[name] = array
  path = pathlib.Path(folder) / _WEIGHTS
  temporary = path.with_name(_TEMPORARY + _WEIGHTS)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    _npz.write(temporary, arrays)
    temporary.replace(path)
  except OSError as error:
    raise CheckpointError(f"cannot write {path}: {_one_line(error)}") from error
  return path


def load_params(folder: str | os.PathLike[str], like: Any) -> Any:
  """Reads what `save_params` wrote.

  Args:
    folder: Where ``weights.npz`` is.
    like: Parameters, or their `jax.ShapeDtypeStruct`, of the model that is to
      have the weights.

  Returns:
    Parameters as ``like``, of `jax.Array`; 16 bits become 32 where it has 32.

  Raises:
    CheckpointError: If the file is missing or damaged, or a parameter is
      missing, superfluous, or of another shape or dtype.
  """
  path = pathlib.Path(folder) / _WEIGHTS
  wanted, treedef = jax.tree_util.tree_flatten_with_path(like)
  names = [_leaves.param_name(key) for key, _ in wanted]
  try:
    arrays = _npz.read(path, {n: x.dtype for n, (_, x) in zip(names, wanted)})
  except Exception as error:  # A damaged zip file fails in a dozen ways.
    raise CheckpointError(f"cannot read {path}: {_one_line(error)}") from error
  _check_same_model(
    path,
    [_leaves.describe(name, array) for name, array in arrays.items()],
    [_leaves.describe(name, x) for name, (_, x) in zip(names, wanted)],
  )
  leaves = [jnp.array(arrays[name]) for name in names]
  return jax.tree_util.tree_unflatten(treedef, leaves)


def _import_orbax() -> Any:
  """Returns the module `orbax.checkpoint`."""
  try:
    with _quiet():
      import orbax.checkpoint
  except ImportError as error:
    raise CheckpointError(
      f"checkpoints need Orbax ({_one_line(error)}): "
      'pip install "dnc-jax[train]"'
    ) from error
  return orbax.checkpoint


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps Orbax's reports of what it does out of the run's log."""

  def is_wanted(record: Any) -> bool:
    is_orbax = "orbax" in pathlib.PurePath(record.pathname).parts
    return record.levelno >= python_logging.WARNING or not is_orbax

  logger = logging.get_absl_logger()
  logger.addFilter(is_wanted)
  try:
    yield
  finally:
    logger.removeFilter(is_wanted)


def _read_leaves(tree: Any) -> tuple[list[Any], list[dict[str, Any]]]:
  """Returns the leaves, as `_leaves.to_host`, and their descriptions."""
  flat = jax.tree_util.tree_flatten_with_path(tree)[0]
  for path, leaf in flat:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(
      leaf.dtype, jax.dtypes.prng_key
    ):
      raise CheckpointError(
        f"{_leaves.leaf_name(path)} is a typed random key, which cannot be "
        "saved. Save jax.random.key_data of it."
      )
  leaves = _leaves.to_host([x for _, x in flat])
  return leaves, [
    _leaves.describe(_leaves.leaf_name(path), x) for path, x in flat
  ]


def _key(index: int) -> str:
  # Orbax joins nested names by dots, and Haiku's names may have dots in them.
  return f"{index:05d}"


def _check_same_model(
  path: pathlib.Path,
  saved: list[dict[str, Any]],
  wanted: list[dict[str, Any]],
) -> None:
  """Raises a `CheckpointError` that names the first leaf that differs."""
  if difference := _leaves.first_difference(saved, wanted):
    raise CheckpointError(
      f"{path} is of another model: {difference}. Build the model as it was, "
      "or choose another folder."
    )


def _one_line(error: BaseException) -> str:
  """Returns the first line of what an error says."""
  lines = str(error).strip().splitlines()
  return f"{type(error).__name__}: {lines[0][:300]}" if lines else repr(error)
