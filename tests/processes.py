"""Scripts in processes of their own, for tests that kill, interrupt or watch.

Python takes seconds to import what a script needs. So one process imports it,
without starting JAX, and each script is a fork of that one: a process like any
other to the signals that reach it, with flags, JAX and threads of its own.
"""

import functools
import importlib
import json
import multiprocessing
import os
import pathlib
import runpy
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from typing import Any, NamedTuple
from unittest import mock

ROOT = pathlib.Path(__file__).parents[1]
# Not the scripts themselves: they define their flags when they are run.
PRELOAD = ["orbax.checkpoint", "scripts.flags", "scripts.progress", __name__]
# Small, and the same in all tests: what one compiled is there for the others.
SMALL = (
  "--hidden_size=4",
  "--memory_size=4",
  "--word_size=3",
  "--num_read_heads=1",
  "--batch_size=2",
  "--learning_rate=0.05",
)
SMALL_COPY = (*SMALL, "--num_bits=1", "--max_length=2", "--max_repeats=1")
# A machine with other work to do may be slow; nothing waits so long otherwise.
PATIENCE = 300.0


class Finished(NamedTuple):
  """How a process ended.

  Attributes:
    status: Its exit status; minus the signal that killed it.
    stdout: What it wrote on standard output.
    stderr: What it wrote on standard error.
  """

  status: int
  stdout: str
  stderr: str


class Child:
  """A process that does one thing.

  Attributes:
    folder: Where it runs, and where its outputs are kept.
  """

  def __init__(
    self,
    target: Callable[..., object],
    *args: Any,
    folder: str | os.PathLike[str],
    terminal: str | None = None,
  ):
    """Starts it.

    Args:
      target: Function at the top of a module.
      *args: What it is given.
      folder: Where it runs.
      terminal: Path of the terminal for its outputs; files in ``folder`` if
        None.
    """
    self.folder = pathlib.Path(folder)
    outputs = [terminal or str(self.folder / f".{x}") for x in ("out", "err")]
    for path in outputs:
      if terminal is None:
        pathlib.Path(path).write_text("")
    self._outputs = outputs
    self._terminal = terminal
    self._process = _context().Process(
      target=_main, args=(target, args, str(folder), outputs)
    )
    self._process.start()

  @property
  def stdout(self) -> str:
    """What it wrote on standard output so far."""
    return "" if self._terminal else pathlib.Path(self._outputs[0]).read_text()

  @property
  def is_running(self) -> bool:
    """Whether it has not ended yet."""
    return self._process.is_alive()

  def send(self, number: int) -> None:
    """Sends it a signal."""
    os.kill(self._process.pid or 0, number)

  def wait(self) -> Finished:
    """Waits for its end."""
    self._process.join(PATIENCE)
    if self._process.exitcode is None:
      self.send(signal.SIGKILL)
      raise AssertionError(f"Not done in {PATIENCE} s: {self.stdout}")
    status = self._process.exitcode
    self._process.close()
    if self._terminal:
      return Finished(status, "", "")
    return Finished(
      status, *(pathlib.Path(path).read_text() for path in self._outputs)
    )


def start_script(
  name: str,
  *args: str,
  folder: str | os.PathLike[str],
  terminal: str | None = None,
) -> Child:
  """Starts ``python -m scripts.name args`` in a folder; see `Child`.

  Weights that ship are looked for in ``pretrained`` below that folder.
  """
  return Child(run_module, name, args, folder=folder, terminal=terminal)


def run_script(
  name: str, *args: str, folder: str | os.PathLike[str]
) -> Finished:
  """Runs ``python -m scripts.name args`` in a folder, to its end."""
  return start_script(name, *args, folder=folder).wait()


def training_flags(
  *command_lines: list[str], folder: str | os.PathLike[str]
) -> list[dict[str, Any]]:
  """Returns what command lines of the training script stand for.

  Args:
    *command_lines: Each without the name of the script.
    folder: Where they are given.

  Returns:
    For each, ``config``, the fields of its `RunConfig`, and ``flags``, all
    flags by name.
  """
  done = Child(_print_flags, command_lines, folder=folder).wait()
  if done.status:
    raise AssertionError(done)
  return json.loads(done.stdout)


def wait_until(
  what: Callable[[], object], child: Child, *, interval: float = 0.002
) -> None:
  """Waits until something is so, while a process runs.

  Raises:
    AssertionError: The process ended before, or it takes too long.
  """
  limit = time.monotonic() + PATIENCE
  while not what():
    if not child.is_running:
      raise AssertionError(f"It ended too soon: {child.wait()}")
    if time.monotonic() > limit:
      raise AssertionError(f"Waited {PATIENCE} s: {child.stdout}")
    time.sleep(interval)


@functools.cache
def _context() -> Any:
  """Returns where processes come from, with all imported there."""
  server = multiprocessing.get_context("forkserver")
  server.set_forkserver_preload(PRELOAD)
  paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
  path = os.pathsep.join(filter(None, paths))
  with mock.patch.dict(os.environ, {"PYTHONPATH": path}):
    forkserver.ensure_running()
  return server


def _main(
  target: Callable[..., object],
  args: tuple[Any, ...],
  folder: str,
  outputs: list[str],
) -> None:
  """Does what the process is for."""
  # A group of its own, so that Ctrl-C at the tests does not reach it.
  os.setsid()
  os.chdir(folder)
  # What kind of terminal it is shall not hang on where the tests are run.
  os.environ["TERM"] = "xterm"
  for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
    os.environ.pop(name, None)
  for number, path in enumerate(outputs, start=1):
    opened = os.open(path, os.O_WRONLY)
    os.dup2(opened, number)
    os.close(opened)
  target(*args)


def run_module(name: str, args: tuple[str, ...]) -> None:
  """Does what ``python -m scripts.name args`` does."""
  from scripts import saved

  saved.__file__ = str(pathlib.Path("scripts/saved.py").absolute())
  sys.argv = [f"scripts/{name}.py", *args]
  runpy.run_module(f"scripts.{name}", run_name="__main__", alter_sys=True)


def _print_flags(command_lines: tuple[list[str], ...]) -> None:
  """Prints what `training_flags` returns."""
  from absl import flags
  from absl.testing import flagsaver

  import scripts.flags

  importlib.import_module("scripts.train")  # Defines flags of its own.
  scripts.flags.define_training_flags()
  found = []
  for line in command_lines:
    with flagsaver.flagsaver():
      flags.FLAGS(["train", *line])
      config = scripts.flags.run_config().to_dict()
      values = flags.FLAGS.flag_values_dict()
      found.append({"config": config, "flags": values})
  print(json.dumps(found, default=str))
