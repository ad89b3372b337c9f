"""Looking inside a memory: what is told of it, drawn and kept."""

import re

import numpy as np
from absl.testing import absltest, parameterized

from scripts import inside as insides
from scripts.inside import Inside
from tests import processes
from tests.script_case import ScriptTestCase

COPY = ("--task=copy", "--checkpoint_dir=copy")
SMALL = (*processes.SMALL, "--num_bits=2", "--max_length=3")


def trace_of(written, read, usage, **others):
  """Returns a trace of three slots, one of which is written and read a step."""
  eye = np.eye(4)[:, :3]
  return {
    "write_weights": eye[written][:, None],
    "read_weights": eye[read][:, None],
    "usage": np.array(usage, float),
    **others,
  }


NONE = 3
# Slot 2 first, then 0; 2 is freed by the read and written again, and written
# on without being freed.
TRACE = trace_of(
  written=[2, 0, NONE, 2, 2],
  read=[NONE, NONE, 2, NONE, 1],
  usage=[[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0.1], [1, 0, 1]],
  free_gate=np.array([[0, 0, 1, 0, 0.5]]).T,
  read_mode=np.tile([0.25, 0.5, 0.25], (5, 1, 1)),
)


class InsideTest(parameterized.TestCase):
  def test_what_was_freed_and_written_again(self):
    np.testing.assert_array_equal(insides.frees(TRACE), [0, 0, 1])
    without = {name: x for name, x in TRACE.items() if name != "free_gate"}
    self.assertIsNone(insides.frees(without))

  def test_slots_in_the_order_of_writing(self):
    np.testing.assert_array_equal(insides.by_first_write(TRACE), [2, 0, 1])
    unread = TRACE | {"read_weights": 0 * TRACE["read_weights"]}
    np.testing.assert_array_equal(insides.by_first_write(unread), [2, 0])

  def test_summary(self):
    scored = np.array([False, False, True, True, True])
    some = np.zeros([5, 2])
    text = insides.in_words(
      Inside(some, some, scored, some, 5, 6, some, TRACE), "bit"
    )
    self.assertIn("5 steps, of which 3 are answered: 5 of 6 bits right.", text)
    rows = [re.split(r"  +", line) for line in text.splitlines()]
    self.assertIn(["2", "3", "1", "1"], rows)
    self.assertIn(["1", "0", "1", "0"], rows)
    self.assertIn(["all", "4", "2", "1"], rows)
    self.assertIn(["free gate", "0.00", "0.50"], rows)
    self.assertIn(["read mode: forward", "0.50", "0.50"], rows)

  def test_many_slots_are_told_together(self):
    size = 40
    weights = np.eye(size)[:, None]
    trace = {"write_weights": weights, "read_weights": weights}
    some = np.zeros([size, 1])
    text = insides.in_words(
      Inside(some, some, some[:, 0] > 0, some, 0, 0, some, trace), "bit"
    )
    self.assertRegex(text, r"24 others +24 +24\n")
    self.assertLess(len(text.splitlines()), 30)

  def test_strips_of_several_heads(self):
    ones = np.ones([4, 2, 5])  # Two read heads, two write heads.
    names = [strip.name for strip in insides.modes({"read_mode": ones})]
    self.assertLen(names, 10)
    self.assertIn("read mode: forward 2 1", names)
    self.assertIn("read mode: content 2", names)
    shifts = insides.modes({"read_shifts": np.ones([4, 1, 3])})
    self.assertEqual([x.name[-2:] for x in shifts], ["-1", "+0", "+1"])


class LookTest(ScriptTestCase):
  def train(self, *flags):
    self.run_script(
      "train", *COPY, *SMALL, "--num_training_iterations=1", *flags
    )

  def test_it_tells_draws_and_keeps(self):
    self.train()
    told = self.run_script(
      "look", *COPY, "--min_length=3", "--arrays=all.npz", "--index=51"
    )
    self.assertRegex(told, r"^copy, lesson 1 of 1, sequence 51 of seed 0, ")
    self.assertRegex(told, r"8 steps, of which 3 are answered: \d of 6 bits")
    self.assertRegex(told, r"(?m)^write gate +0\.\d\d +0\.\d\d$")
    picture = (self.folder / "inside.png").read_bytes()
    self.assertStartsWith(picture, b"\x89PNG")
    self.assertGreater(len(picture), 20_000)
    with np.load(self.folder / "all.npz") as file:
      arrays = dict(file)
    self.assertEqual(arrays["inputs"].shape, (8, 4))
    self.assertEqual(arrays["logits"].shape, (8, 2))
    self.assertEqual(arrays["write_weights"].shape, (8, 1, 4))
    self.assertEqual(arrays["memory"].shape, (8, 4, 3))
    np.testing.assert_array_equal(arrays["scored"], np.arange(8) >= 5)
    # What is heard comes back: the bits are those that are wanted.
    np.testing.assert_array_equal(
      arrays["inputs"][1:4, :2], arrays["targets"][5:]
    )
    # Another order is another picture, of the same sequence.
    self.run_script(
      "look",
      *(*COPY, "--min_length=3", "--index=51", "--order=written"),
      *("--memory_size=9", "--picture=other.png"),
    )
    self.assertNotEqual((self.folder / "other.png").read_bytes(), picture)

  @parameterized.parameters("ntm", "sdnc")
  def test_other_memories(self, core):
    self.train(f"--core={core}")
    told = self.run_script("look", *COPY)
    self.assertRegex(told, r"(?m)^write gate +0\.\d\d +0\.\d\d$")
    self.assertNotIn("freed", told)
    self.assertGreater((self.folder / "inside.png").stat().st_size, 20_000)

  def test_refusals(self):
    self.train("--core=none")
    for pattern, flags in (
      ("core must be one with a memory .* has 'none'", COPY),
      ("Give one of --checkpoint_dir and --pretrained", ["--task=copy"]),
      ("lesson must be from 1 to 1, got 2", [*COPY, "--lesson=2"]),
      ("index.*-1", [*COPY, "--index=-1"]),
      ("hears 4 numbers .* with --num_bits", [*COPY, "--num_bits=3"]),
      ("trained on 'copy'", ["--checkpoint_dir=copy", "--task=traversal"]),
    ):
      with self.subTest(pattern):
        self.check_refusal(pattern, "look", *flags)
    self.run_script(
      "train",
      *("--task=shortest_path", "--lessons=city", "--planning_steps=1"),
      *("--checkpoint_dir=ways", "--links=off", *processes.SMALL),
      "--num_training_iterations=1",
    )
    self.check_refusal(
      "task must be one whose inputs are known .* 'shortest_path'",
      "look",
      *("--task=shortest_path", "--checkpoint_dir=ways"),
    )


if __name__ == "__main__":
  absltest.main()
