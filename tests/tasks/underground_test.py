"""Tests of the London Underground's maps."""

import csv
import itertools
import pathlib

import numpy as np
from absl.testing import absltest, parameterized

from tasks import underground

REFERENCE = pathlib.Path(__file__).parents[3] / "shared" / "data" / "london"
REFERENCE_FILES = {
  "zone1": "london_zone1_2019_directed.csv",
  "interchanges": "london_zone1_7lines_contracted_directed.csv",
  "full": "london_underground_2021_directed.csv",
}

# Where we differ from the reference, and why. Each has a row in the docs.
DISAGREEMENTS = {
  ("zones", "Turnham Green", "2+3", "2"): (
    "on the boundary of zones 2 and 3; the reference gives the cheaper one"
  ),
}

OPPOSITE = {"N": "S", "E": "W", "S": "N", "W": "E"}


def _edges(city: underground.Map) -> set[tuple[str, str, str, str]]:
  """Returns the edges as (source, line, direction, destination)."""
  named = set()
  for source, label, destination in city.edges:
    line, direction = city.labels[label].rsplit(" ", 1)
    named.add((city.nodes[source], line, direction, city.nodes[destination]))
  return named


def _reference_edges(name: str) -> set[tuple[str, str, str, str]]:
  with open(REFERENCE / REFERENCE_FILES[name], encoding="utf-8") as file:
    return {
      (row["from"], row["line"], row["direction"], row["to"])
      for row in csv.DictReader(file)
    }


def _edge_disagreements(name, ours, theirs) -> set[tuple]:
  """Returns how two sets of edges differ, as keys of DISAGREEMENTS."""
  found: set[tuple] = set()
  our_links = {(a, line, b): direction for a, line, direction, b in ours}
  their_links = {(a, line, b): direction for a, line, direction, b in theirs}
  for whose, stations in (
    ("only ours", {e[0] for e in ours} - {e[0] for e in theirs}),
    ("only theirs", {e[0] for e in theirs} - {e[0] for e in ours}),
  ):
    found |= {(name, "station", whose, station) for station in stations}
  for link in our_links.keys() | their_links.keys():
    if link not in their_links:
      found.add((name, "link", "only ours", *link))
    elif link not in our_links:
      found.add((name, "link", "only theirs", *link))
    elif our_links[link] != their_links[link]:
      found.add((name, "direction", *link, our_links[link], their_links[link]))
  return found


def _station_disagreements() -> set[tuple]:
  """Returns how the two stations files differ, as keys of DISAGREEMENTS."""
  stations = underground.read_stations()
  lines: dict[str, set[str]] = {}
  for line, a, b in underground.read_network().links:
    lines.setdefault(a, set()).add(line)
    lines.setdefault(b, set()).add(line)
  with open(REFERENCE / "stations_2021.csv", encoding="utf-8") as file:
    reference = {row["station"]: row for row in csv.DictReader(file)}
  found: set[tuple] = set()
  found |= {("station", name) for name in stations.keys() ^ reference.keys()}
  for name in stations.keys() & reference.keys():
    row, ours = reference[name], stations[name]
    zones = "+".join(str(zone) for zone in ours.zones)
    if zones != row["zones"]:
      found.add(("zones", name, zones, row["zones"]))
    theirs = (float(row["lat"]), float(row["lon"]))
    if not np.allclose(ours.position, theirs, rtol=0, atol=1e-5):
      found.add(("position", name, ours.position, theirs))
    if lines[name] != set(row["lines"].split("|")):
      found.add(("lines", name, "|".join(sorted(lines[name])), row["lines"]))
  return found


def _reach(successors, start):
  seen, frontier = {start}, [start]
  while frontier:
    for node in successors.get(frontier.pop(), ()):
      if node not in seen:
        seen.add(node)
        frontier.append(node)
  return seen


class MapTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("zone1", "zone1", 63, 36, 252),
    ("interchanges", "interchanges", 25, 26, 102),
    ("full", "full", 270, 42, 749),
  )
  def test_sizes_are_those_documented(self, name, nodes, labels, edges):
    city = underground.load(name)
    self.assertEqual(city.name, name)
    self.assertLen(city.nodes, nodes)
    self.assertLen(city.labels, labels)
    self.assertEqual(city.edges.shape, (edges, 3))
    self.assertEqual(city.edges.dtype, np.int32)
    self.assertEqual(city.positions.shape, (nodes, 2))

  @parameterized.parameters(*underground.MAPS)
  def test_source_and_label_name_one_edge(self, name):
    city = underground.load(name)
    starts = np.unique(city.edges[:, :2], axis=0)
    self.assertLen(starts, len(city.edges))
    self.assertEqual(city.edges.min(axis=0).tolist(), [0, 0, 0])
    most = [len(city.nodes) - 1, len(city.labels) - 1, len(city.nodes) - 1]
    self.assertEqual(city.edges.max(axis=0).tolist(), most)

  @parameterized.parameters(*underground.MAPS)
  def test_edges_lead_both_ways_but_for_earls_court(self, name):
    links = {(a, line, b) for a, line, _, b in _edges(underground.load(name))}
    one_way = {link for link in links if link[::-1] not in links}
    expected = {
      (station, "District", "Earl's Court")
      for station in (
        *("Gloucester Road", "High Street Kensington", "West Brompton"),
        *("Kensington (Olympia)", "West Kensington"),
      )
    }
    self.assertEqual(one_way, expected if name == "full" else set())

  @parameterized.parameters(*underground.MAPS)
  def test_the_way_back_is_opposite_but_for_exceptions(self, name):
    directions = {
      (a, line, b): direction
      for a, line, direction, b in _edges(underground.load(name))
    }
    bent = {
      (line, frozenset((a, b)))
      for (a, line, b), direction in directions.items()
      if directions.get((b, line, a), OPPOSITE[direction])
      != OPPOSITE[direction]
    }
    circle = ("Circle", frozenset(("Liverpool Street", "Embankment")))
    exceptions = {
      (line, frozenset(ends))
      for (line, *ends), d in underground.read_network().exceptions.items()
      if d != "-"
    }
    self.assertIn(circle, exceptions)
    expected = {
      "zone1": set(),
      "interchanges": {circle},
      "full": exceptions - {circle},
    }
    self.assertEqual(bent, expected[name])

  @parameterized.parameters(*underground.MAPS)
  def test_stations_reach_each_other_but_for_two_branches(self, name):
    city = underground.load(name)
    onward: dict[int, list[int]] = {}
    back: dict[int, list[int]] = {}
    for a, _, b in city.edges.tolist():
      onward.setdefault(a, []).append(b)
      back.setdefault(b, []).append(a)
    # No edge leads from Earl's Court down the branches that only it opens.
    no_way_in = {
      *("West Brompton", "Fulham Broadway", "Parsons Green", "Putney Bridge"),
      *("East Putney", "Southfields", "Wimbledon Park", "Wimbledon"),
      "Kensington (Olympia)",
    }
    start = city.nodes.index("Oxford Circus")
    reached = {city.nodes[i] for i in _reach(onward, start)}
    self.assertEqual(
      set(city.nodes) - reached, no_way_in if name == "full" else set()
    )
    self.assertLen(_reach(back, start), len(city.nodes))

  @parameterized.named_parameters(
    ("central", "Oxford Circus", "Central E", "Tottenham Court Road"),
    ("across_zone1", "Embankment", "Northern E", "Waterloo"),
    ("city", "Waterloo", "Waterloo & City E", "Bank"),
    ("circle", "King's Cross St Pancras", "Circle W", "Euston Square"),
  )
  def test_zone1_and_full_know_the_next_station(self, start, label, end):
    line, direction = label.rsplit(" ", 1)
    for name in ("zone1", "full"):
      edge = (start, line, direction, end)
      self.assertIn(edge, _edges(underground.load(name)))

  def test_moving_north_from_brixton_rides_the_victoria_line(self):
    # Written out a second time, from the other end than in the lines file.
    expected = [
      *("Brixton", "Stockwell", "Vauxhall", "Pimlico", "Victoria"),
      *("Green Park", "Oxford Circus", "Warren Street", "Euston"),
      *("King's Cross St Pancras", "Highbury & Islington", "Finsbury Park"),
      *("Seven Sisters", "Tottenham Hale", "Blackhorse Road"),
      "Walthamstow Central",
    ]
    onward: dict[str, list[str]] = {}
    for a, line, _, b in _edges(underground.load("full")):
      if line == "Victoria":
        onward.setdefault(a, []).append(b)
    ride, previous = ["Brixton"], ""
    while len(ride) <= len(onward):
      ahead = [b for b in onward[ride[-1]] if b != previous]
      if not ahead:
        break
      self.assertLen(ahead, 1)
      previous = ride[-1]
      ride.append(ahead[0])
    self.assertEqual(ride, expected)

  def test_interchanges_skip_the_stations_between(self):
    edges = _edges(underground.load("interchanges"))
    # Marylebone and Edgware Road, Barbican and Farringdon lie between.
    self.assertIn(("Baker Street", "Bakerloo", "W", "Paddington"), edges)
    self.assertIn(("Moorgate", "Circle", "W", "King's Cross St Pancras"), edges)
    self.assertFalse([e for e in edges if e[1] == "District"])
    # On the Piccadilly line alone once the District line is left out.
    self.assertNotIn("Earl's Court", underground.load("interchanges").nodes)

  def test_the_moves_of_2021_are_in_full_only(self):
    new = {"Battersea Power Station", "Nine Elms", "Kennington"}
    self.assertLessEqual(new, set(underground.load("full").nodes))
    self.assertFalse(new & set(underground.load("zone1").nodes))

  def test_loading_twice_gives_the_same_read_only_arrays(self):
    city = underground.load("zone1")
    self.assertIs(underground.load("zone1"), city)
    with self.assertRaisesRegex(ValueError, "read-only"):
      city.edges[0, 0] = 1
    with self.assertRaisesRegex(ValueError, "read-only"):
      city.positions[0, 0] = 1

  def test_an_unknown_map_is_answered_with_the_list(self):
    with self.assertRaisesRegex(
      ValueError, "zone1, interchanges, full, got 'zone2'"
    ):
      underground.load("zone2")


class NetworkTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("Bakerloo", "Bakerloo", 25),
    ("Central", "Central", 49),
    # 36 where the two stations at Paddington count as two; likewise H & C.
    ("Circle", "Circle", 35),
    ("District", "District", 60),
    ("Hammersmith_City", "Hammersmith & City", 29),
    ("Jubilee", "Jubilee", 27),
    ("Metropolitan", "Metropolitan", 34),
    ("Northern", "Northern", 52),
    ("Piccadilly", "Piccadilly", 53),
    ("Victoria", "Victoria", 16),
    ("Waterloo_City", "Waterloo & City", 2),
  )
  def test_line_has_as_many_stations_as_is_well_known(self, line, count):
    network = underground.read_network()
    self.assertLen(network.lines, 11)
    stations = set()
    for name, a, b in network.links:
      if name == line:
        stations |= {a, b}
    self.assertLen(stations, count)

  def test_every_listed_station_is_on_a_line(self):
    links = underground.read_network().links
    served = {station for _, *ends in links for station in ends}
    self.assertEqual(set(underground.read_stations()), served)

  def test_every_exception_turns_or_omits_an_edge_of_some_map(self):
    stations = underground.read_stations()
    full = {(line, a, b) for a, line, _, b in _edges(underground.load("full"))}
    changed = {
      link: "-"
      for line, a, b in underground.read_network().links
      for link in (underground.Link(line, a, b), underground.Link(line, b, a))
      if link not in full
    }
    for name in underground.MAPS:
      for a, line, direction, b in _edges(underground.load(name)):
        nearest = underground.quadrant(
          underground.bearing(stations[a].position, stations[b].position)
        )
        if nearest != direction:
          changed[underground.Link(line, a, b)] = direction
    self.assertEqual(changed, dict(underground.read_network().exceptions))

  @parameterized.parameters(*underground.MAPS)
  def test_exceptions_turn_away_from_the_bearings_least(self, name):
    city = underground.load(name)
    position = dict(zip(city.nodes, city.positions.tolist()))
    quarters = {d: 90 * i for i, d in enumerate(underground.DIRECTIONS)}
    around: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for a, line, direction, b in _edges(city):
      degrees = underground.bearing(position[a], position[b])
      around.setdefault((a, line), []).append((direction, degrees))

    def turn(directions, bearings):
      apart = [abs(quarters[d] - b) for d, b in zip(directions, bearings)]
      return sum(min(angle, 360 - angle) for angle in apart)

    for where, links in around.items():
      directions, bearings = zip(*links)
      least = min(
        turn(choice, bearings)
        for choice in itertools.permutations("NESW", len(links))
      )
      self.assertAlmostEqual(turn(directions, bearings), least, msg=where)


class SmallNetworkTest(absltest.TestCase):
  """What is asked of the files, on networks of a few stations."""

  def setUp(self):
    super().setUp()
    self.stations = underground.parse_stations(
      "# Comment.\n"
      "name,zones,lat,lon,zone1_since\n"
      "Middle,1,50.0,0.0,\n"
      "North,1,51.0,0.0,\n"
      "North by east,1,51.0,0.1,\n"
      "East,1+2,50.0,1.0,2021\n"
    )
    self.text = "[Line]\nNorth, Middle,\nNorth by east\n"

  def _build(self, text):
    network = underground.parse_lines(text)
    return underground.build("small", network.links, network, self.stations)

  def test_fields_of_a_station_are_read(self):
    expected = underground.Station((1, 2), (50.0, 1.0), 2021)
    self.assertEqual(self.stations["East"], expected)

  def test_a_clash_names_map_station_label_and_both_ends(self):
    with self.assertRaisesRegex(
      ValueError, "map small: Middle, Line N names both North and North by east"
    ):
      self._build(self.text)

  def test_an_exception_settles_a_clash(self):
    exceptions = "[exceptions]\nMiddle | Line | North by east | E | why\n"
    self.assertEqual(
      _edges(self._build(self.text + exceptions)),
      {
        ("North", "Line", "S", "Middle"),
        ("Middle", "Line", "N", "North"),
        ("Middle", "Line", "E", "North by east"),
        ("North by east", "Line", "S", "Middle"),
      },
    )

  def test_an_exception_can_leave_an_edge_out(self):
    exceptions = "[exceptions]\nMiddle | Line | North by east | - | why\n"
    self.assertEqual(
      _edges(self._build(self.text + exceptions)),
      {
        ("North", "Line", "S", "Middle"),
        ("Middle", "Line", "N", "North"),
        ("North by east", "Line", "S", "Middle"),
      },
    )

  def test_an_exception_without_a_clash_is_left_alone(self):
    text = "[Line]\nNorth, Middle, East\n"
    exceptions = "[exceptions]\nMiddle | Line | East | W | why\n"
    plain = _edges(self._build(text))
    self.assertIn(("Middle", "Line", "E", "East"), plain)
    self.assertEqual(_edges(self._build(text + exceptions)), plain)

  def test_paragraphs_are_separate_runs(self):
    network = underground.parse_lines("[A]\nx, y,\nz\n\nv, w\n# C.\nz, v\n")
    self.assertEqual(
      [(a, b) for _, a, b in network.links],
      [("x", "y"), ("y", "z"), ("v", "w"), ("z", "v")],
    )

  def test_contraction_drops_dead_ends_and_other_lines(self):
    links = underground.parse_lines(
      "[Central]\ndead, P, between, Q\n\n[Victoria]\nP, Q\n\n"
      "[District]\nbetween, P\n"
    ).links
    self.assertEqual(
      underground.contract(links),
      (
        underground.Link("Central", "P", "Q"),
        underground.Link("Victoria", "P", "Q"),
      ),
    )

  def test_a_misspelt_station_is_named(self):
    with self.assertRaisesRegex(ValueError, "Line calls at Nroth, which"):
      self._build("[Line]\nNroth, Middle\n")

  def test_a_link_written_twice_is_named(self):
    with self.assertRaisesRegex(ValueError, "Line links x and y 2 times"):
      underground.parse_lines("[Line]\nx, y\n\ny, x\n")

  def test_a_malformed_exception_is_quoted(self):
    with self.assertRaisesRegex(ValueError, r"'x \| Line \| y \| NE \| why'"):
      underground.parse_lines("[exceptions]\nx | Line | y | NE | why\n")

  def test_stations_before_a_heading_are_quoted(self):
    with self.assertRaisesRegex(ValueError, "'x, y' stands before"):
      underground.parse_lines("x, y\n[Line]\n")

  def test_a_station_listed_twice_is_named(self):
    header = "name,zones,lat,lon,zone1_since\n"
    with self.assertRaisesRegex(ValueError, "station x is listed twice"):
      underground.parse_stations(header + "x,1,50,0,\n" * 2)

  def test_bearings_are_clockwise_from_north(self):
    ends = [(51.0, 0.0), (50.0, 1.0), (49.0, 0.0), (50.0, -1.0)]
    bearings = [underground.bearing((50.0, 0.0), end) for end in ends]
    np.testing.assert_allclose(bearings, [0, 90, 180, 270], rtol=0, atol=1e-9)


class ReferenceTest(parameterized.TestCase):
  """Ours against data built from Transport for London's timetables."""

  def test_disagreements_with_the_reference_are_those_listed(self):
    if not REFERENCE.is_dir():
      self.skipTest("the reference data are not beside this checkout")
    found = _station_disagreements()
    for name in underground.MAPS:
      ours = _edges(underground.load(name))
      found |= _edge_disagreements(name, ours, _reference_edges(name))
    listed = set(DISAGREEMENTS)
    self.assertEqual(found - listed, set(), "not listed in DISAGREEMENTS")
    self.assertEqual(listed - found, set(), "listed, but no longer there")

  def test_the_comparison_sees_every_kind_of_difference(self):
    ours = {("a", "L", "N", "b"), ("b", "L", "S", "a"), ("a", "L", "E", "c")}
    theirs = {("a", "L", "N", "b"), ("b", "L", "E", "a"), ("d", "L", "W", "a")}
    self.assertEqual(
      _edge_disagreements("m", ours, theirs),
      {
        ("m", "direction", "b", "L", "a", "S", "E"),
        ("m", "link", "only ours", "a", "L", "c"),
        ("m", "link", "only theirs", "d", "L", "a"),
        ("m", "station", "only theirs", "d"),
      },
    )
