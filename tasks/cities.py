"""Maps by name: the London Underground's, or anyone's from a file.

A file is CSV with a heading and a row for each directed edge:

    from,to,line,direction
    Alpha,Beta,Red,E
    Beta,Alpha,Red,W

Line and direction together are the edge's label. They name one neighbour at
most: a station has one "Red E". Columns may be in any order; cells are taken
without the blanks around them.
"""

import pathlib

import numpy as np

from tasks import graphs, tables, underground
from tasks.underground import Map

COLUMNS = ("from", "to", "line", "direction")


def load(name: str) -> Map:
  """Returns a map of London by its name, or reads one from a file.

  Args:
    name: One of `underground.MAPS`, or the path of a CSV file.

  Returns:
    The map. One from a file has no positions: each is NaN.

  Raises:
    ValueError: It is neither, or the file cannot be used; the message says in
      which line and why.
  """
  if name in underground.MAPS:
    return underground.load(name)
  path = pathlib.Path(name)
  if not path.is_file():
    raise ValueError(
      f"map must be one of {', '.join(underground.MAPS)}, or a CSV file; "
      f"there is no file {name!r}."
    )
  return parse(tables.read(path, "map"), name)


def parse(text: str, name: str) -> Map:
  """Returns the map that the text of a file tells.

  Args:
    text: Contents of the file.
    name: What the map and the messages call it.

  Raises:
    ValueError: The text is no map that can be walked.
  """
  leads: dict[tuple[str, str], tuple[str, int]] = {}
  for line, cells in tables.rows(text, COLUMNS, what="map", name=name):
    where = f"{name}, line {line}"
    source, destination = cells["from"], cells["to"]
    label = f"{cells['line']} {cells['direction']}"
    if source == destination:
      raise ValueError(f"{where}: {label} leads from {source} to itself.")
    before, at = leads.setdefault((source, label), (destination, line))
    if before != destination:
      raise ValueError(
        f"{where}: {label} from {source} leads to {destination}, and by line "
        f"{at} to {before}. A line and direction must name one neighbour: give "
        "one of the two another direction."
      )
    if at != line:
      raise ValueError(f"{where}: the same edge as in line {at}. Keep one.")
  return _numbered(name, leads)


def _numbered(name: str, leads: dict[tuple[str, str], tuple[str, int]]) -> Map:
  """Returns the map of these edges, (source, label) to destination."""
  stations = {source for source, _ in leads}
  stations |= {destination for destination, _ in leads.values()}
  nodes = tuple(sorted(stations))
  labels = tuple(sorted({label for _, label in leads}))
  for what, names in (("stations", nodes), ("lines with direction", labels)):
    if len(names) > graphs.NUM_LABELS:
      raise ValueError(
        f"The map {name} has {len(names)} {what}; at most "
        f"{graphs.NUM_LABELS} can be told apart."
      )
  node = {station: index for index, station in enumerate(nodes)}
  number = {label: index for index, label in enumerate(labels)}
  edges = np.array(
    sorted(
      (node[source], number[label], node[destination])
      for (source, label), (destination, _) in leads.items()
    ),
    np.int32,
  )
  stuck = sorted(stations - {source for source, _ in leads})
  if stuck:
    raise ValueError(
      f"On the map {name} nothing leaves {stuck[0]}"
      + (f" (nor {len(stuck) - 1} others)" if stuck[1:] else "")
      + ", so a walk could not go on from there. Edges have one direction: "
      "write the way back as a row of its own."
    )
  positions = np.full((len(nodes), 2), np.nan)
  for array in (edges, positions):
    array.flags.writeable = False
  return Map(name, nodes, labels, edges, positions)
