"""Other DNCs beside ours: what runs, in which order, and what is told."""

import importlib
import importlib.util
import itertools
import json
import sys
import warnings
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax.training import OptimiserConfig
from scripts import benchmark, costs, markdown, peers
from tests import processes
from tests.script_case import ScriptTestCase

OPTIMISER = OptimiserConfig(learning_rate=1e-2)
SIZES = {"hidden_size": 8, "word_size": 4, "num_reads": 2}
(CELL,) = benchmark.cells(["dnc"], [6], [3], 2, **SIZES)


def has_dnc():
  return all(importlib.util.find_spec(x) for x in ("torch", "dnc"))


def needs_dnc(test):
  return absltest.skipUnless(has_dnc(), "torch or dnc is missing")(test)


class AlternateTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.calls = []
    self.clock = 0.0

  def take(self, name, *seconds):
    """Returns what makes steps that take so long, the last ever after."""
    left = itertools.chain(seconds, itertools.repeat(seconds[-1]))

    def step():
      self.calls.append(name)
      self.clock += next(left)
      return float(len(self.calls))

    return lambda *_: step

  def duel(self, ours, theirs, repeats):
    with (
      mock.patch.dict(costs.CLOCKS, {"wall": lambda: self.clock}),
      mock.patch.object(peers, "make_ours", self.take("o", *ours)),
    ):
      peer = peers.Peer(self.take("p", *theirs), "")
      return peers.alternate(CELL, peer, OPTIMISER, repeats=repeats)

  def test_they_run_in_turn(self):
    duel = self.duel((9, 1, 1, 2, 3), (7, 4, 2, 6, 10), repeats=3)
    self.assertEqual("".join(self.calls), "oopp" + 3 * "op")
    self.assertEqual(duel.ours.first_seconds, 9)
    self.assertSequenceAlmostEqual(duel.ours.milliseconds, (1e3, 2e3, 3e3))
    self.assertSequenceAlmostEqual(duel.peers.milliseconds, (2e3, 6e3, 1e4))
    self.assertAlmostEqual(duel.of_medians, 3)
    self.assertAlmostEqual(duel.of_least, 2)
    self.assertEqual(
      peers.line(duel),
      "| dnc | 6 | 3 | 2e+03 (1e+03 to 3e+03) | 6e+03 (2e+03 to 1e+04) | "
      "3.00 | 2.00 | 9.0 | 7.0 |",
    )
    head = markdown.head(peers.COLUMNS)
    self.assertEqual(head.count("|"), 2 * (len(peers.COLUMNS) + 1))

  def test_short_steps_are_run_several_at_a_time(self):
    duel = self.duel((1, 0.02), (1, 0.05), repeats=2)
    self.assertEqual("".join(self.calls), "oopp" + 2 * (5 * "o" + 2 * "p"))
    self.assertSequenceAlmostEqual(duel.ours.milliseconds, (20, 20))
    self.assertAlmostEqual(duel.of_least, 2.5)


class PlainTest(absltest.TestCase):
  def test_learns_what_ours_does(self):
    steps = [f(CELL, OPTIMISER) for f in (peers.make_ours, peers.make_plain)]
    ours, plain = ([step() for _ in range(4)] for step in steps)
    np.testing.assert_allclose(ours, plain, rtol=1e-4)
    self.assertLess(ours[-1], ours[0])


class DncTest(absltest.TestCase):
  def make(self):
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # Of torch's own making.
      return peers.make_dnc(CELL, OPTIMISER)

  @needs_dnc
  def test_learns(self):
    step = self.make()
    losses = [step() for _ in range(4)]
    self.assertLess(losses[-1], losses[0])
    # The loss is that of ours: guessing is log 2 for each bit of 3 steps.
    guessing = np.log(2) * 3 * costs.NUM_BITS
    self.assertBetween(losses[0], 0.5 * guessing, 2 * guessing)

  @needs_dnc
  def test_its_reads_never_reach_its_controller(self):
    dnc = importlib.import_module("dnc")
    heard = []
    made = dnc.DNC

    def watched(**settings):
      model = made(**settings)
      model.lstm_layer_0.register_forward_pre_hook(
        lambda _, args: heard.append(args[0].detach().numpy())
      )
      return model

    with mock.patch.object(dnc, "DNC", watched):
      self.make()()
    self.assertLen(heard, CELL.num_steps)
    reads = np.stack(heard)[..., costs.NUM_BITS :]
    self.assertEqual(reads.shape[-1], SIZES["num_reads"] * SIZES["word_size"])
    np.testing.assert_array_equal(reads, 0)

  def test_without_it_the_error_says_what_to_install(self):
    for name in ("torch", "dnc"):
      missing = {"torch": mock.Mock(), "dnc": mock.Mock(), name: None}
      with (
        mock.patch.dict(sys.modules, missing),
        self.assertRaisesRegex(
          ValueError,
          f"needs torch and dnc.*{name}.*pip install torch, then pip install "
          "--no-deps dnc==1.1.0",
        ),
      ):
        peers.make_dnc(CELL, OPTIMISER)


class ScriptTest(ScriptTestCase):
  FLAGS = (
    "--peer=plain",
    "--memory_sizes=6",
    "--num_steps=3",
    "--hidden_size=8",
    "--word_size=4",
    "--num_read_heads=2",
    "--repeats=2",
    "--json=found.json",
  )

  def test_tells_the_ratios_and_fails_where_they_are_too_small(self):
    done = processes.run_script(
      "benchmark", *self.FLAGS, "--at_least=1000", folder=self.folder
    )
    self.assertRegex(
      done.stderr,
      r"^error: the ratio to plain must be at least 1000, got [\d.]+ for dnc "
      r"of 6 slots\.\n$",
    )
    self.assertEqual(done.status, 1)
    # What was found is told first.
    lines = done.stdout.splitlines()
    self.assertEqual(lines[0], peers.PEERS["plain"].note)
    self.assertEqual("\n".join(lines[2:4]), markdown.head(peers.COLUMNS))
    self.assertStartsWith(lines[4], "| dnc | 6 | 3 | ")
    self.assertLen(lines, 5)
    found = json.loads((self.folder / "found.json").read_text())
    (row,) = found["rows"]
    self.assertEqual(row["word_size"], 4)
    self.assertLen(row["ours"]["milliseconds"], 2)
    self.assertAlmostEqual(
      row["ratio_of_medians"],
      row["peers"]["median_ms"] / row["ours"]["median_ms"],
    )


if __name__ == "__main__":
  absltest.main()
