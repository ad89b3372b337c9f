"""Maps from files: what is read, and what is refused."""

import pathlib

import numpy as np
from absl.testing import absltest, parameterized

from tasks import cities, graphs, underground

HEADING = "from,to,line,direction\n"
TOWN = HEADING + "Alpha,Beta,Red,E\nBeta,Alpha,Red,W\nBeta,Alpha,Blue,N\n"


class CitiesTest(parameterized.TestCase):
  def write(self, text: str, encoding: str = "utf-8") -> str:
    folder = pathlib.Path(self.create_tempdir().full_path)
    path = folder / "town.csv"
    path.write_text(text, encoding=encoding)
    return str(path)

  def check_town(self, town: underground.Map):
    self.assertEqual(town.nodes, ("Alpha", "Beta"))
    self.assertEqual(town.labels, ("Blue N", "Red E", "Red W"))
    np.testing.assert_array_equal(town.edges, [[0, 1, 1], [1, 0, 0], [1, 2, 0]])
    self.assertEqual(town.edges.dtype, np.int32)
    self.assertEqual(town.positions.shape, (2, 2))

  def test_reads_a_map(self):
    path = self.write(TOWN)
    town = cities.load(path)
    self.check_town(town)
    self.assertEqual(town.name, path)
    drawn = graphs.labelled_copies(np.random.default_rng(0), town.edges, 5)
    self.assertEqual(drawn.num_edges.tolist(), [3] * 5)

  @parameterized.named_parameters(
    ("blanks", TOWN.replace(",", " , "), "utf-8"),
    ("empty_rows", TOWN.replace("\n", "\n\n,,,\n"), "utf-8"),
    ("windows", TOWN.replace("\n", "\r\n"), "utf-8-sig"),
    ("quotes", TOWN.replace("Alpha", '"Alpha"'), "utf-8"),
    (
      "another_order",
      "line,to,direction,from\n"
      "Red,Beta,E,Alpha\nRed,Alpha,W,Beta\nBlue,Alpha,N,Beta\n",
      "utf-8",
    ),
  )
  def test_takes_what_spreadsheets_write(self, text, encoding):
    self.check_town(cities.load(self.write(text, encoding)))

  @parameterized.parameters(*underground.MAPS)
  def test_maps_of_london(self, name):
    self.assertIs(cities.load(name), underground.load(name))

  def test_london_survives_a_file(self):
    london = underground.load("zone1")
    rows = [
      f'"{london.nodes[source]}","{london.nodes[destination]}",'
      + ",".join(london.labels[label].rsplit(" ", 1))
      for source, label, destination in london.edges
    ]
    read = cities.load(self.write(HEADING + "\n".join(rows)))
    self.assertEqual(read.nodes, london.nodes)
    self.assertCountEqual(read.labels, london.labels)

    def named(place):
      return {
        (place.nodes[s], place.labels[label], place.nodes[d])
        for s, label, d in place.edges
      }

    self.assertEqual(named(read), named(london))

  @parameterized.named_parameters(
    ("empty", "", "is empty. It needs: from,to,line,direction"),
    ("heading", HEADING, "has no edges, only a heading"),
    ("unknown", "from,to,line,dir\n", "unknown column 'dir'.*from, to, line"),
    ("lacking", "from,to,line\nA,B,Red\n", "lacks the column 'direction'"),
    ("twice", "from,to,line,line\n", "has twice the column 'line'"),
    ("cells", HEADING + "A,B,Red\n", "line 2: there are 3 cells under 4"),
    ("blank", HEADING + "A,B,,E\n", "line 2: the cell 'line' is empty"),
    ("self", HEADING + "A,A,Red,E\n", "line 2: Red E leads from A to itself"),
    (
      "two_neighbours",
      TOWN + "Beta,Gamma,Red,W\n",
      "line 5: Red W from Beta leads to Gamma, and by line 3 to Alpha",
    ),
    ("repeated", TOWN + "Alpha,Beta,Red,E\n", "line 5: the same edge .*line 2"),
    ("stuck", TOWN + "Beta,Gamma,Red,E\n", "nothing leaves Gamma, so a walk"),
    (
      "stuck_more",
      TOWN + "Beta,Gamma,Red,E\nBeta,Delta,Red,S\n",
      r"nothing leaves Delta \(nor 1 others\)",
    ),
    ("quote", HEADING + 'A,"B"x,Red,E\n', "line 2: .*"),
    (
      "many",
      HEADING + "".join(f"S{i},S{i + 1},Red,E\n" for i in range(1000)),
      "has 1001 stations; at most 1000",
    ),
  )
  def test_refuses(self, text, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      cities.load(self.write(text))

  def test_refuses_what_is_no_file(self):
    with self.assertRaisesRegex(ValueError, "one of zone1, .*no file 'mars'"):
      cities.load("mars")
    with self.assertRaisesRegex(ValueError, "cannot be read"):
      cities.load(self.write("from,to,lïne", "latin-1"))


if __name__ == "__main__":
  absltest.main()
