"""Tables that people write: CSV with a heading, a row for each edge.

Columns may be in any order; cells are taken without the blanks around them, and
empty lines are passed over.
"""

import csv
import pathlib


def read(path: pathlib.Path, what: str) -> str:
  """Returns the text of a file.

  Args:
    path: The file.
    what: What it holds, for the message, such as "map".

  Raises:
    ValueError: It cannot be read.
  """
  try:
    return path.read_text(encoding="utf-8-sig")
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"The {what} {path} cannot be read: {error}") from None


def rows(
  text: str, columns: tuple[str, ...], *, what: str, name: str
) -> list[tuple[int, dict[str, str]]]:
  """Returns the rows of a table below its heading.

  Args:
    text: The table.
    columns: Those that it must have, no more and no less.
    what: What it holds, for messages, such as "map".
    name: What messages call it.

  Returns:
    For each row the number of its line and its cells by column, none empty. At
    least one row.

  Raises:
    ValueError: The text is no such table; the message says in which line and
      why.
  """
  reader = csv.reader(text.splitlines(), strict=True)
  try:
    lines = [(reader.line_num, [x.strip() for x in row]) for row in reader]
  except csv.Error as error:
    raise ValueError(f"{name}, line {reader.line_num}: {error}.") from None
  lines = [(line, row) for line, row in lines if any(row)]
  if not lines:
    raise ValueError(
      f"The {what} {name} is empty. It needs: {','.join(columns)}."
    )
  heading = lines[0][1]
  titles = f"its columns must be {', '.join(columns)}."
  for column in heading:
    if column not in columns or heading.count(column) > 1:
      kind = "twice the" if column in columns else "an unknown"
      raise ValueError(f"{name} has {kind} column {column!r}; {titles}")
  if missing := [column for column in columns if column not in heading]:
    raise ValueError(f"{name} lacks the column {missing[0]!r}; {titles}")
  if not lines[1:]:
    raise ValueError(f"The {what} {name} has no edges, only a heading.")
  found = []
  for line, row in lines[1:]:
    where = f"{name}, line {line}"
    if len(row) != len(heading):
      raise ValueError(
        f"{where}: there are {len(row)} cells under {len(heading)} columns."
      )
    cells = dict(zip(heading, row, strict=True))
    if empty := [column for column in columns if not cells[column]]:
      raise ValueError(f"{where}: the cell {empty[0]!r} is empty.")
    found.append((line, cells))
  return found
