"""Scripts for routes: to train, to measure on a map, to ask."""

import json
import shutil

from absl.testing import absltest, parameterized

from tests import processes
from tests.script_case import ScriptTestCase

TRAIN = (
  "--task=shortest_path",
  "--lessons=city",
  "--planning_steps=1",
  "--checkpoint_dir=ways",
  "--links=off",
  "--controller=gru",
  *processes.SMALL,
)
# A ring, one way round; Delta leads straight to Beta, too, and Echo nowhere but
# to Delta, from where no one comes back.
TOWN = """from,to,line,direction
Alpha,Beta,Red,E
Beta,Gamma,Red,E
Gamma,Delta,Red,W
Delta,Alpha,Red,W
Delta,Beta,Blue,N
Echo,Delta,Blue,S
"""


class RoutesTest(ScriptTestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.trained = cls.run_once("train", *TRAIN, "--num_training_iterations=2")

  def setUp(self):
    super().setUp()
    (self.folder / "town.csv").write_text(TOWN)

  def test_train_measure_and_ask(self):
    told = self.run_script("train", *TRAIN, "--num_training_iterations=2")
    self.assertRegex(told, r"from \d{3} to \d{3}, [12] steps")
    ways = ("--task=shortest_path", "--checkpoint_dir=ways")
    town = (*ways, "--map=town.csv", "--memory_size=16")

    result = self.measured(*ways, "--lesson=1")
    self.assertEqual((result["task"], result["lesson"]), ("shortest_path", 1))

    result = self.measured(*town, "--path_length=3")
    self.assertEqual((result["map"], result["path_length"]), ("town.csv", 3))
    # Alpha to Delta, Beta to Alpha, Echo to Gamma.
    self.assertEqual((result["episodes"], result["pairs"]), (3, 3))
    self.assertBetween(result["accuracy"], 0, 1)
    self.assertBetween(result["arrived"], result["accuracy"], 1)
    self.assertEqual(result["readings"], 1)

    result = self.measured(*town, "--path_length=3", "--readings=4")
    self.assertEqual((result["episodes"], result["readings"]), (3, 4))
    self.assertBetween(result["accuracy"], 0, 1)

    stdout = self.run_script(
      "evaluate", *town, "--path_length=1", "--every_length"
    )
    every = json.loads(stdout.splitlines()[-1])["every_length"]
    lengths = [row["path_length"] for row in every]
    self.assertEqual(lengths, [1, 2, 3])
    # Four in the ring to three others each, and Echo to all four.
    self.assertEqual([row["pairs"] for row in every], [6, 7, 3])
    # Where one edge leaves, the way is sure; from Delta it is one of two.
    self.assertAlmostEqual(every[0]["by_chance"], (4 + 2 * 0.5) / 6)

    ask = (
      *("ask", "--map=town.csv", "--checkpoint_dir=ways", "--from=alpha"),
      "--memory_size=16",
    )
    told = self.run_script(*ask, "--to=Gamma", "--picture=way.png")
    self.assertIn(
      "town.csv: 5 stations, 6 edges, 16 slots of memory, read 8", told
    )
    # There is but one way to go.
    self.assertIn("Alpha to Gamma, as the network goes: 2 steps; there", told)
    self.assertIn("\n  Alpha - Red E - Beta  (100.0% sure)\n", told)
    picture = (self.folder / "way.png").read_bytes()
    self.assertStartsWith(picture, b"\x89PNG")
    told = self.run_script(*ask, "--to=Gamma", "--picture=", "--readings=1")
    self.assertNotIn("Drawn", told)
    self.assertIn("16 slots of memory\n", told)

  @parameterized.parameters(
    (("--to=Alpa",), "no station 'Alpa'.*Nearest: Alpha"),
    (("--to=Echo",), "nothing leads from Beta to Echo"),
    (("--to=Beta",), "where you are already"),
    (("--to=Alpha", "--then=Red E"), "not both"),
    (("--to=Alpha", "--pretrained=traversal"), "Give only one"),
    (("--then=Red E", "--readings=2"), "--readings is for a route"),
  )
  def test_ask_refuses(self, flags, pattern):
    shutil.copytree(self.trained / "ways", self.folder / "ways")
    self.check_refusal(
      pattern,
      "ask",
      *("--map=town.csv", "--checkpoint_dir=ways", "--from=Beta", *flags),
    )

  def test_others_refuse(self):
    shutil.copytree(self.trained / "ways", self.folder / "ways")
    ways = ("--task=shortest_path", "--checkpoint_dir=ways", "--map=town.csv")
    self.check_refusal(
      "path_length must be from 1 to 3 on the map town.csv, got 9",
      *("evaluate", *ways, "--memory_size=16", "--path_length=9"),
    )
    self.check_refusal(
      "6 edges.*trained with 4 slots.*--memory_size=16", "evaluate", *ways
    )
    self.check_refusal(
      "--every_length is for", "evaluate", *ways[:2], "--every_length"
    )
    self.check_refusal(
      "--readings is for", "evaluate", *ways[:2], "--readings=2"
    )
    self.check_refusal(
      "planner_fraction must be from 0 to 1, got 2",
      *("train", *TRAIN, "--planner_fraction=2", "--checkpoint_dir=other"),
    )


if __name__ == "__main__":
  absltest.main()
