"""Metrics of a run: a CSV file that survives a resume, and exact means.

A run that was stopped and resumed leaves the same bytes in its ``metrics.csv``
as one that was never stopped. So a row holds nothing that depends on the clock,
floats are written with all their digits, and the rows that a killed run wrote
after its last checkpoint are cut when it is resumed.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

_UNFIT = frozenset(',"\r\n')


class Writer:
  r"""Appends rows to a CSV file.

  >>> import tempfile
  >>> folder = tempfile.TemporaryDirectory()
  >>> path = pathlib.Path(folder.name) / "metrics.csv"
  >>> with Writer(path, ("step", "train/loss")) as writer:
  ...   writer.write({"step": 100, "train/loss": 0.5})
  >>> path.read_text()
  'step,train/loss\n100,0.5\n'
  >>> folder.cleanup()
  """

  def __init__(
    self,
    path: str | os.PathLike[str],
    fields: tuple[str, ...],
    resume_rows: int | None = None,
  ):
    """Opens the file, and makes it with its header if it is not there.

    Args:
      path: The file, usually ``metrics.csv`` in the run's folder.
      fields: Names of the columns, at least one.
      resume_rows: How many of the rows that are there to keep, at least 0:
        what `rows` was when the checkpoint was made that the run resumes from,
        or 0 to start anew. None keeps every row that is whole.

    Raises:
      ValueError: If the file has other columns or fewer rows than
        ``resume_rows``, or cannot be written.
    """
    self._path = pathlib.Path(path)
    self._fields = tuple(fields)
    if not fields or len(set(fields)) < len(fields):
      raise ValueError(f"fields must be different names, got {fields}.")
    for field in fields:
      _check_text("fields", field)
    if resume_rows is not None and resume_rows < 0:
      raise ValueError(f"resume_rows must be at least 0, got {resume_rows}.")
    header = ",".join(self._fields).encode() + b"\n"
    try:
      self._path.parent.mkdir(parents=True, exist_ok=True)
      kept = self._kept_lines(header, resume_rows)
      if not kept:
        self._path.write_bytes(header)
      else:
        # One system call: a kill leaves the file either long or cut.
        os.truncate(self._path, sum(len(line) for line in kept))
      self._file = self._path.open("ab")
    except OSError as error:
      raise ValueError(
        f"path {self._path} cannot be written: {error.strerror}. Choose "
        "another folder."
      ) from error
    self._rows = max(len(kept) - 1, 0)

  @property
  def rows(self) -> int:
    """Number of rows in the file, without its header. Save it to resume."""
    return self._rows

  def write(self, row: Mapping[str, Any]) -> None:
    """Appends a row and hands it to the operating system at once.

    Args:
      row: Value of each field: a number, an array of one number, text without
        commas, quotes or line breaks, or None. Fields that are not in ``row``
        are left blank, as None is.

    Raises:
      ValueError: If ``row`` has a field that the file does not, or a value that
        is none of these.
    """
    unknown = [name for name in row if name not in self._fields]
    if unknown:
      raise ValueError(
        f"row has the field {unknown[0]!r}, which is none of {self._fields}. "
        "Name it in fields."
      )
    cells = [_format(name, row.get(name)) for name in self._fields]
    self._file.write(",".join(cells).encode() + b"\n")
    self._file.flush()
    self._rows += 1

  def close(self) -> None:
    """Closes the file."""
    self._file.close()

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, *unused: object) -> None:
    self.close()

  def _kept_lines(self, header: bytes, resume_rows: int | None) -> list[bytes]:
    """Returns the header and the rows to keep; nothing if it has no header."""
    data = self._path.read_bytes() if self._path.exists() else b""
    # What follows the last line break is what a kill cut short.
    *lines, rest = data.splitlines(keepends=True) or [b""]
    if rest.endswith(b"\n"):
      lines.append(rest)
    first = lines[0] if lines else rest
    if first != header and (lines or not header.startswith(rest)):
      raise ValueError(
        f"path {self._path} has the header "
        f"{first.decode(errors='replace').rstrip()!r}, not "
        f"{header.decode().rstrip()!r}. Choose another folder."
      )
    rows = max(len(lines) - 1, 0)
    if resume_rows is None:
      return lines
    if rows < resume_rows:
      raise ValueError(
        f"path {self._path} has {rows} rows, fewer than resume_rows = "
        f"{resume_rows}: it is not the file of this run. Put that back, or "
        "choose another folder."
      )
    return lines[: resume_rows + 1]


class RunningMean:
  """Means of named values, each over as many as came.

  Sums are Python floats, so that they go through JSON without a change and a
  resumed run continues with exactly the sums that it was stopped with.

  >>> mean = RunningMean()
  >>> mean.add({"loss": 1.0})
  >>> mean.add({"loss": 2.0, "norm": 3.0})
  >>> mean.means()
  {'loss': 1.5, 'norm': 3.0}
  """

  def __init__(self):
    self._sums: dict[str, float] = {}
    self._counts: dict[str, int] = {}

  def add(self, values: Mapping[str, Any]) -> None:
    """Takes in one value of each name.

    Args:
      values: Numbers, or arrays of one number, by name.
    """
    for name, value in values.items():
      self._sums[name] = self._sums.get(name, 0.0) + float(value)
      self._counts[name] = self._counts.get(name, 0) + 1

  def means(self) -> dict[str, float]:
    """Returns the mean of each name's values, in the order they first came."""
    return {name: self._sums[name] / self._counts[name] for name in self._sums}

  def state(self) -> dict[str, Any]:
    """Returns everything in it, as JSON can write it exactly."""
    return {"sums": dict(self._sums), "counts": dict(self._counts)}

  @classmethod
  def from_state(cls, state: Mapping[str, Any]) -> "RunningMean":
    """Returns the means that `state` was called on.

    Args:
      state: What `state` returned, or its copy through JSON.

    Raises:
      ValueError: If ``state`` is anything else.
    """
    mean = cls()
    try:
      mean._sums = {str(k): float(v) for k, v in state["sums"].items()}
      mean._counts = {str(k): int(v) for k, v in state["counts"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
      raise ValueError(
        f"state must be what RunningMean.state returns, got {state!r}."
      ) from error
    if mean._sums.keys() != mean._counts.keys() or any(
      count < 1 for count in mean._counts.values()
    ):
      raise ValueError(
        f"state must have a count of at least 1 for each sum, got {state!r}."
      )
    return mean


def _format(name: str, value: Any) -> str:
  """Returns a value as the text of a cell."""
  if hasattr(value, "item"):
    if value.size != 1:
      raise ValueError(
        f"row has an array of shape {value.shape} for {name!r}. Reduce it to "
        "one number."
      )
    value = value.item()
  if value is None:
    return ""
  if isinstance(value, str):
    _check_text(name, value)
    return value
  if isinstance(value, bool | int | float):
    return repr(value)
  raise ValueError(
    f"row has a {type(value).__name__} for {name!r}. Give a number or text."
  )


def _check_text(name: str, text: str) -> None:
  """Raises a ValueError if a text would break the lines of the file."""
  if _UNFIT & set(text):
    raise ValueError(
      f"{name} has {text!r}, with a comma, a quote or a line break. Leave "
      "these out."
    )
