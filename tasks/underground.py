"""The London Underground as maps of (station, label, station) edges.

The network is written out in `underground_lines.txt`, line by line in station
order, and the stations' zones and positions in `underground_stations.csv`. A
label is a line and a direction, such as "Central E": a line alone does not
tell where it leads, a line with a direction names one neighbour.

Shape letters: V stations of a map, E directed edges.
"""

import csv
import functools
import itertools
import math
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

MAPS = ("zone1", "interchanges", "full")
DIRECTIONS = ("N", "E", "S", "W")

# District, Hammersmith & City and Metropolitan share their track in zone 1 with
# the Circle line, and Waterloo & City has two stations.
INTERCHANGE_LINES = (
  "Bakerloo",
  "Central",
  "Circle",
  "Jubilee",
  "Northern",
  "Piccadilly",
  "Victoria",
)

_FOLDER = pathlib.Path(__file__).parent


class Map(NamedTuple):
  """A map as integers, with the names that they stand for.

  Attributes:
    name: One of `MAPS`.
    nodes: Names of the stations, in alphabetical order. Length V.
    labels: Names of the labels that occur, such as "Central E", ordered by line
      and then N, E, S, W.
    edges: Source node, label and destination node of each edge, as indices into
      `nodes` and `labels`, in ascending order. No two edges have the same
      source and label. Shape ``[E, 3]``, int32, read-only.
    positions: Latitude and longitude in degrees. Shape ``[V, 2]``, float64,
      read-only.
  """

  name: str
  nodes: tuple[str, ...]
  labels: tuple[str, ...]
  edges: np.ndarray  # [E, 3]
  positions: np.ndarray  # [V, 2]


class Station(NamedTuple):
  """What is known of a station.

  Attributes:
    zones: Fare zones, two of them on a boundary.
    position: Latitude and longitude in degrees.
    zone1_since: The year in which the station opened in zone 1 or was moved
      into it, if that was in 2021, and otherwise None.
  """

  zones: tuple[int, ...]
  position: tuple[float, float]
  zone1_since: int | None


class Link(NamedTuple):
  """Two stations next to each other on a line, in the order written."""

  line: str
  source: str
  destination: str


class Network(NamedTuple):
  """What `underground_lines.txt` says.

  Attributes:
    lines: Names of the lines, in the order of the file.
    links: Every link, once.
    exceptions: Direction of an edge where the nearest quadrant would not do,
      or "-" for an edge to leave out.
  """

  lines: tuple[str, ...]
  links: tuple[Link, ...]
  exceptions: Mapping[Link, str]


def parse_stations(text: str) -> dict[str, Station]:
  """Returns the stations by name from the text of a stations file."""
  rows = (row for row in text.splitlines() if not row.startswith("#"))
  stations = {}
  for row in csv.DictReader(rows):
    if row["name"] in stations:
      raise ValueError(f"station {row['name']} is listed twice; keep one row.")
    stations[row["name"]] = Station(
      zones=tuple(int(zone) for zone in row["zones"].split("+")),
      position=(float(row["lat"]), float(row["lon"])),
      zone1_since=int(row["zone1_since"]) if row["zone1_since"] else None,
    )
  return stations


def parse_lines(text: str) -> Network:
  """Returns the network from the text of a lines file.

  The format is described in `underground_lines.txt`.

  Args:
    text: Contents of a lines file.

  Returns:
    The network. Station names are not checked here; see `build`.

  Raises:
    ValueError: A link is written twice on a line, a row of exceptions is
      malformed, or there is text before the first heading.
  """
  runs: dict[str, list[list[str]]] = {}
  exceptions: dict[Link, str] = {}
  section, run = None, []
  for row in text.splitlines():
    row = row.strip()
    if not row or row.startswith("#"):
      run = []  # The paragraph is over: the next row begins another run.
    elif row.startswith("["):
      section, run = row.strip("[]"), []
      if section != "exceptions":
        runs.setdefault(section, [])
    elif section is None:
      raise ValueError(f"lines file: {row!r} stands before the first [line].")
    elif section == "exceptions":
      fields = [field.strip() for field in row.split("|")]
      if len(fields) != 5 or fields[3] not in (*DIRECTIONS, "-"):
        raise ValueError(
          f"exception {row!r} must read station | line | neighbour | "
          f"{', '.join(DIRECTIONS)} or - | reason."
        )
      station, line, neighbour, direction, _ = fields
      exceptions[Link(line, station, neighbour)] = direction
    else:
      if not run:
        runs[section].append(run)
      run.extend(name.strip() for name in row.split(",") if name.strip())

  links = []
  for line, line_runs in runs.items():
    for stations in line_runs:
      links.extend(Link(line, a, b) for a, b in itertools.pairwise(stations))
  counts = Counter((line, frozenset(ends)) for line, *ends in links)
  for (line, ends), count in counts.items():
    if count > 1:
      raise ValueError(
        f"{line} links {' and '.join(sorted(ends))} {count} times; write it "
        "once in the lines file."
      )
  return Network(tuple(runs), tuple(links), exceptions)


def bearing(start: tuple[float, float], end: tuple[float, float]) -> float:
  """Returns the compass bearing from one position to another.

  With latitudes φ and longitudes λ, on a plane that touches the earth half way:

      bearing = atan2((λ₂ - λ₁) cos((φ₁ + φ₂) / 2), φ₂ - φ₁)

  Over the length of a link this is the spherical bearing within 0.1 degrees,
  and the way back is exactly opposite.

  >>> bearing((51.5, 0.0), (51.5, 0.25))
  90.0

  Args:
    start: Latitude and longitude in degrees.
    end: Likewise.

  Returns:
    Degrees clockwise from north, in [0, 360).
  """
  middle = math.radians((start[0] + end[0]) / 2)
  east = (end[1] - start[1]) * math.cos(middle)
  return math.degrees(math.atan2(east, end[0] - start[0])) % 360


def quadrant(degrees: float) -> str:
  """Returns which of N, E, S, W is nearest to a bearing.

  >>> quadrant(44.0), quadrant(46.0), quadrant(350.0)
  ('N', 'E', 'N')

  Args:
    degrees: Clockwise from north, in [0, 360).
  """
  return DIRECTIONS[int((degrees + 45) % 360 // 90)]


def contract(links: Iterable[Link]) -> tuple[Link, ...]:
  """Returns the links between interchanges, as the map "interchanges" has them.

  The rule:

  1. Keep the links of `INTERCHANGE_LINES` only. No lines are merged.
  2. An interchange is a station that two or more of the lines left call at.
  3. On each line, join two interchanges where the line runs from one to the
     other past no third. What leads to no further interchange falls away.

  Args:
    links: Links of zone 1. Consumed.

  Returns:
    One link for each line and pair of interchanges that it joins.
  """
  neighbours: dict[str, dict[str, list[str]]] = {}
  for line, a, b in links:
    if line in INTERCHANGE_LINES:
      on_line = neighbours.setdefault(line, {})
      on_line.setdefault(a, []).append(b)
      on_line.setdefault(b, []).append(a)
  num_lines = Counter(name for line in neighbours.values() for name in line)
  contracted = []
  for line, on_line in neighbours.items():
    joined = set()
    for start in on_line:
      if num_lines[start] < 2:
        continue
      # Search outwards, and no further than the first interchange each way.
      seen, frontier = {start}, [start]
      while frontier:
        for name in on_line[frontier.pop()]:
          if name in seen:
            continue
          seen.add(name)
          if num_lines[name] < 2:
            frontier.append(name)
          else:
            joined.add(tuple(sorted((start, name))))
    contracted += [Link(line, a, b) for a, b in sorted(joined)]
  return tuple(contracted)


def build(
  name: str,
  links: Iterable[Link],
  network: Network,
  stations: Mapping[str, Station],
) -> Map:
  """Returns a map of links in both directions, labelled by compass.

  A link points to its `quadrant`. Where that makes two links of one line at one
  station point the same way, the network's exceptions for that station and line
  apply.

  Args:
    name: What to call the map.
    links: Links between stations, each once. Consumed.
    network: Whose lines and exceptions to use.
    stations: Positions by name.

  Returns:
    The map.

  Raises:
    ValueError: A station has no position, or a station, line and direction
      would name two neighbours.
  """
  neighbours: dict[tuple[str, str], list[str]] = {}
  for line, a, b in links:
    for station in (a, b):
      if station not in stations:
        raise ValueError(
          f"{line} calls at {station}, which is not in the stations file; add "
          "it there or mend the spelling."
        )
    neighbours.setdefault((a, line), []).append(b)
    neighbours.setdefault((b, line), []).append(a)

  chosen: list[tuple[str, str, str, str]] = []  # source, line, direction, end
  for (station, line), ends in neighbours.items():
    here = stations[station].position
    directions = {
      b: quadrant(bearing(here, stations[b].position)) for b in ends
    }
    if len(set(directions.values())) < len(ends):
      directions = {
        b: network.exceptions.get(Link(line, station, b), nearest)
        for b, nearest in directions.items()
      }
    first: dict[str, str] = {}
    for end, direction in directions.items():
      if direction == "-":
        continue
      if direction in first:
        raise ValueError(
          f"map {name}: {station}, {line} {direction} names both "
          f"{first[direction]} and {end}; give one of them another direction "
          "under [exceptions] in the lines file."
        )
      first[direction] = end
      chosen.append((station, line, direction, end))

  nodes = tuple(sorted({station for station, _ in neighbours}))
  used = {(line, direction) for _, line, direction, _ in chosen}
  labels = [
    (line, direction)
    for line in network.lines
    for direction in DIRECTIONS
    if (line, direction) in used
  ]
  node_index = {station: i for i, station in enumerate(nodes)}
  label_index = {label: i for i, label in enumerate(labels)}
  edges = np.array(
    sorted(
      (node_index[a], label_index[line, direction], node_index[b])
      for a, line, direction, b in chosen
    ),
    dtype=np.int32,
  )
  positions = np.array([stations[station].position for station in nodes])
  # `load` hands the same arrays to every caller.
  edges.setflags(write=False)
  positions.setflags(write=False)
  names = tuple(f"{line} {direction}" for line, direction in labels)
  return Map(name, nodes, names, edges, positions)


@functools.cache
def read_stations() -> dict[str, Station]:
  """Returns the project's own stations by name."""
  file = _FOLDER / "underground_stations.csv"
  return parse_stations(file.read_text(encoding="utf-8"))


@functools.cache
def read_network() -> Network:
  """Returns the project's own network."""
  file = _FOLDER / "underground_lines.txt"
  return parse_lines(file.read_text(encoding="utf-8"))


@functools.cache
def load(name: str) -> Map:
  """Returns a map of the London Underground by name.

  * "full": every station and line, 2021-22. No District edge starts at Earl's
    Court, so that nine stations beyond it, to Wimbledon and Olympia, have no
    edge in from the rest; all other stations reach each other, as do all of the
    two smaller maps.
  * "zone1": the stations in zone 1, boundary included, and the links between
    two of them, as before the Northern line extension of 2021: without Nine
    Elms, Battersea Power Station and Kennington, which it brought in.
  * "interchanges": "zone1" under the rule of `contract`.

  Args:
    name: One of `MAPS`.

  Returns:
    The map. The same object each time.

  Raises:
    ValueError: There is no map of that name.
  """
  if name not in MAPS:
    raise ValueError(f"map must be one of {', '.join(MAPS)}, got {name!r}.")
  network, stations = read_network(), read_stations()
  links = network.links
  if name != "full":
    inside = {
      station
      for station, facts in stations.items()
      if 1 in facts.zones and facts.zone1_since is None
    }
    links = tuple(
      link for link in links if {link.source, link.destination} <= inside
    )
  if name == "interchanges":
    links = contract(links)
  return build(name, links, network, stations)
