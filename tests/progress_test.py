"""What a run shows of itself: plain lines in a file, a bar on a terminal."""

import contextlib
import fcntl
import io
import os
import re
import signal
import struct
import termios
import threading
import time
from unittest import mock

from absl.testing import absltest, parameterized

from scripts import progress
from tests import processes

ROW = {
  "step": 200,
  "lesson": 1,
  "loss": 0.25,
  "accuracy": 0.5,
  "unit_accuracy": 0.75,
}
FLAGS = (*processes.SMALL_COPY, "--checkpoint_dir=run")
# All of it: none is lost to an ellipsis.
REPORT = r"loss \d+\.\d{4}  accuracy \d+\.\d%  lesson 1 +\d+\.\d steps/s"


class LinesTest(parameterized.TestCase):
  def shown(self, first, last, reports):
    """Returns what is printed for reports at (step, second)."""
    output = io.StringIO()
    clock = mock.patch.object(time, "monotonic", return_value=0.0)
    with (
      contextlib.redirect_stdout(output),
      clock as now,
      progress.Progress(first, last) as shower,
    ):
      for step, second in reports:
        now.return_value = second
        for done in range(first + 1, step + 1):
          shower.tick(done)
        shower.show(ROW | {"step": step})
        first = step
    return output.getvalue().splitlines()

  def test_a_line_for_each_report(self):
    self.assertEqual(
      self.shown(0, 1000, [(100, 10.0), (200, 15.0)]),
      [
        "step 100  loss 0.2500  accuracy 50.0%  units 75.0%  lesson 2  "
        "10.0 steps/s  0:01:30 left",
        "step 200  loss 0.2500  accuracy 50.0%  units 75.0%  lesson 2  "
        "20.0 steps/s  0:00:40 left",
      ],
    )

  def test_steps_of_before_do_not_count_as_speed(self):
    (line,) = self.shown(90, 10_090, [(100, 10.0)])
    self.assertIn("1.0 steps/s  2:46:30 left", line)

  def test_nothing_is_left_at_the_end(self):
    (line,) = self.shown(0, 10, [(10, 1.0)])
    self.assertEndsWith(line, "0:00:00 left")

  def test_a_clock_that_stands_still(self):
    self.assertLen(self.shown(0, 20, [(10, 0.0), (20, 0.0)]), 2)


class Terminal:
  """A terminal that remembers all that was written on it."""

  def __init__(self, columns):
    self._main, self._other = os.openpty()
    size = struct.pack("HHHH", 24, columns, 0, 0)
    fcntl.ioctl(self._other, termios.TIOCSWINSZ, size)
    self.path = os.ttyname(self._other)
    self._bytes = b""
    self._reader = threading.Thread(target=self._read)
    self._reader.start()

  def _read(self):
    # Fails once nobody has the other end open any more.
    with contextlib.suppress(OSError):
      while data := os.read(self._main, 4096):
        self._bytes += data

  @property
  def text(self):
    """What was written so far, without colours."""
    text = self._bytes.decode(errors="replace")
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)

  def close(self):
    os.close(self._other)
    self._reader.join()
    os.close(self._main)


class BarTest(parameterized.TestCase):
  def start(self, columns, *flags):
    folder = self.create_tempdir().full_path
    terminal = Terminal(columns)
    child = processes.start_script(
      "train", *FLAGS, *flags, folder=folder, terminal=terminal.path
    )
    return terminal, child

  @parameterized.parameters(80, 120)
  def test_a_bar_shows_how_far_and_how_long(self, columns):
    terminal, child = self.start(
      columns, "--num_training_iterations=40", "--report_interval=10"
    )
    status = child.wait().status
    terminal.close()
    self.assertEqual(status, 0, terminal.text)
    lines = re.split(r"[\r\n]+", terminal.text)
    ends = [line for line in lines if "40/40" in line]
    self.assertNotEmpty(ends, terminal.text)
    self.assertRegex(ends[-1], rf"40/40 +━+ +{REPORT} +\d:\d\d:\d\d")
    # Redrawn in place: nothing runs over the end of a line.
    self.assertLessEqual(max(map(len, lines)), columns)
    self.assertNotIn("…", terminal.text)
    # The lines are for files.
    self.assertNotRegex(terminal.text, r"step \d+  loss")
    self.assertIn("Done: 40 steps", terminal.text)

  def test_a_stop_leaves_the_terminal_in_order(self):
    terminal, child = self.start(
      120, "--num_training_iterations=1000000", "--report_interval=10"
    )
    processes.wait_until(lambda: re.search(REPORT, terminal.text), child)
    child.send(signal.SIGINT)
    status = child.wait().status
    terminal.close()
    self.assertEqual(status, 128 + signal.SIGINT, terminal.text)
    self.assertIn("goes on from there", terminal.text)
    self.assertNotIn("Traceback", terminal.text)
    # The cursor, hidden while the bar is there, is back.
    self.assertGreater(
      terminal._bytes.rfind(b"\x1b[?25h"), terminal._bytes.rfind(b"\x1b[?25l")
    )


if __name__ == "__main__":
  absltest.main()
