"""Several devices compute what one does, and several processes too."""

import contextlib
import csv
import json
import pathlib
import re
import signal
import socket
import time

import numpy as np
from absl.testing import absltest, parameterized

from tests import devices_case, processes
from tests.processes import Child
from tests.script_case import ScriptTestCase

FLAGS = (
  *processes.SMALL_COPY,
  # Later ones win.
  "--batch_size=8",
  "--learning_rate=0.001",
  "--report_interval=1",
)
STEPS = 50


class OneProcessTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  def printed(self, target):
    done = Child(target, folder=self.folder).wait()
    self.assertEqual(done.status, 0, done.stderr)
    return json.loads(done.stdout)

  def test_eight_devices_have_the_losses_of_one(self):
    found = self.printed(devices_case.print_losses)
    self.assertEqual({x: len(y) for x, y in found.items()},
                     {"dnc": 3, "sam": 2, "routes": 3})  # fmt: skip
    for name, (alone, *others) in found.items():
      self.assertLen(alone, devices_case.STEPS)
      # The same five batches at the end as at the beginning.
      self.assertLess(sum(alone[-5:]), sum(alone[:5]))
      for number, losses in enumerate(others):
        with self.subTest(f"{name}, mesh {number}"):
          np.testing.assert_allclose(losses, alone, rtol=1e-6)

  def test_programs_are_divided(self):
    by_data, by_slots = self.printed(devices_case.print_programs)
    config = devices_case.CONFIGS["dnc"]
    slots, words = config.memory_size, config.word_size
    # Nothing crosses at a time step but the sum of gradients, at the end.
    loops, _, entry = by_data.partition("\nENTRY")
    self.assertIn("all-reduce", entry)
    self.assertNotRegex(loops, r" = .*(all-\w+|collective-\w+)(-start)?\(")
    # No device has all of the memory or of the links of a sequence.
    part, batch = slots // 8, devices_case.B
    for text, number in ((by_data, slots), (by_slots, part)):
      size = 1 if text is by_data else batch
      self.assertIn(f"f32[{size},{number},{words}]", text)
      self.assertIn(f"f32[{size},1,{number},{slots}]", text)
    self.assertNotRegex(by_slots, rf"[\[,]{slots},{words}\]")
    self.assertNotRegex(by_slots, rf"[\[,]{slots},{slots}\]")


class ProcessesTest(ScriptTestCase):
  def start(self, folder, *flags, count=1, mesh=(), devices=1, by_slurm=False):
    """Starts processes that train together; one alone if ``count`` is 1.

    With ``by_slurm`` they are told of each other as Slurm tells.
    """
    with contextlib.closing(socket.socket()) as free:
      free.bind(("localhost", 0))
      port = free.getsockname()[1]
    children = []
    for number in range(count):
      where = self.folder / f"process_{number}"
      where.mkdir(exist_ok=True)
      several = (
        f"--coordinator_address=localhost:{port}",
        f"--num_processes={count}",
        f"--process_id={number}",
      )
      if by_slurm:
        several = ("--distributed",)
      children.append(
        Child(
          devices_case.train,
          devices,
          (port, count, number) if by_slurm else None,
          *FLAGS,
          f"--checkpoint_dir={self.folder / folder}",
          *flags,
          *mesh,
          *(several if count > 1 else ()),
          folder=where,
        )
      )
    return children

  def train(self, folder, *flags, **how):
    """Trains to the end, and returns what the first process said."""
    done = [x.wait() for x in self.start(folder, *flags, **how)]
    for number, one in enumerate(done):
      self.assertEqual(one.status, 0, one)
      if number:
        self.assertNotIn("step", one.stdout)
    return done[0].stdout

  def losses(self, folder):
    with (self.folder / folder / "metrics.csv").open() as file:
      return [float(row["loss"]) for row in csv.DictReader(file)]

  def params(self, *folders):
    paths = [str(self.folder / folder) for folder in folders]
    done = Child(devices_case.print_params, *paths, folder=self.folder).wait()
    self.assertEqual(done.status, 0, done)
    return json.loads(done.stdout)

  def wait_for_step(self, folder, step, child):
    path = self.folder / folder / "metrics.csv"
    processes.wait_until(
      lambda: path.exists() and path.read_text().count("\n") > step, child
    )

  def test_two_and_four_processes(self):
    steps = f"--num_training_iterations={STEPS}"
    data = ("--mesh_data=2",)
    both = ("--mesh_data=2", "--mesh_slots=2")
    self.train("one", steps)
    said = self.train("two", steps, count=2, mesh=data)
    self.assertIn("2 cpu devices of 2 processes, 2 data × 1 slots", said)
    self.train("four", steps, count=4, mesh=both, by_slurm=True)
    alone = self.losses("one")
    self.assertLen(alone, STEPS)
    for folder in ("two", "four"):
      np.testing.assert_allclose(self.losses(folder), alone, rtol=1e-6)

    # One process is interrupted: both stop at the same step, and save.
    longer = "--num_training_iterations=100000"
    children = self.start("broken", longer, count=2, mesh=data)
    self.wait_for_step("broken", 3, children[0])
    children[1].send(signal.SIGINT)
    ended = [child.wait() for child in children]
    self.assertEqual(
      [x.status for x in ended], [128 + signal.SIGTERM, 128 + signal.SIGINT]
    )
    stopped = re.search(r"SIGTERM at step (\d+), saved", ended[0].stdout)
    assert stopped is not None, ended
    self.assertLen(self.losses("broken"), int(stopped[1]))

    # One process is killed: the other says so and ends; the run goes on. The
    # first is the one that all others are joined by.
    every = "--checkpoint_interval=1"
    for victim in (1, 0):
      reached = len(self.losses("broken"))
      children = self.start("broken", longer, every, count=2, mesh=data)
      self.wait_for_step("broken", reached + 2, children[0])
      children[victim].send(signal.SIGKILL)
      began = time.monotonic()
      ended = [child.wait() for child in children]
      self.assertLess(time.monotonic() - began, 60)
      self.assertEqual(ended[victim].status, -signal.SIGKILL)
      left = ended[1 - victim]
      self.assertNotEqual(left.status, 0)
      self.assertRegex(left.stderr, "another (process was lost|task died)")
    reached = len(self.losses("broken"))

    # Bit for bit what two processes compute that nobody stopped.
    last = max(reached + 3, STEPS)
    steps = f"--num_training_iterations={last}"
    said = self.train("broken", steps, every, count=2, mesh=data)
    self.assertRegex(said, r"resuming from step [1-9]")
    if last > STEPS:
      self.train("two", steps, count=2, mesh=data)
    broken, two = self.params("broken", "two")
    self.assertEqual(broken, two)
    self.assertEqual(self.losses("broken"), self.losses("two"))

    # And on by other numbers of processes, more and fewer, and of devices: four
    # processes' run by the eight devices of one, and theirs by a single one.
    eight = {"devices": 8, "mesh": ("--mesh_data=4", "--mesh_slots=2")}
    for reached, folder, how in (
      (STEPS, "one", {"count": 2, "mesh": data}),
      (STEPS, "four", eight),
      (STEPS + 1, "four", {}),
      (STEPS + 1, "one", {}),
    ):
      steps = f"--num_training_iterations={reached + 1}"
      said = self.train(folder, steps, **how)
      self.assertIn(f"resuming from step {reached}", said)
    np.testing.assert_allclose(
      self.losses("four"), self.losses("one"), rtol=1e-6
    )

  def test_what_flags_must_say(self):
    for pattern, flags in (
      ("--process_id must be given, too",
       ["--coordinator_address=a:1", "--num_processes=2"]),
      ("process_id must be below num_processes, 2, got 2",
       ["--coordinator_address=a:1", "--num_processes=2", "--process_id=2"]),
      ("coordinator_address must be host:port, got 'a'",
       ["--coordinator_address=a", "--num_processes=2", "--process_id=1"]),
      ("mesh_data must be at least 1, got 0", ["--mesh_data=0"]),
      ("mesh_data × mesh_slots is 64 × 1 = 64, but there", ["--mesh_data=64"]),
      ("--seeds is for one device", ["--seeds=1,2", "--mesh_data=1",
                                     "--mesh_slots=64"]),
    ):  # fmt: skip
      with self.subTest(pattern):
        self.check_refusal(pattern, "train", *flags)


if __name__ == "__main__":
  absltest.main()
