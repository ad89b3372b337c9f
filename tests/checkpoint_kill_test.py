"""Checkpoints of a process that is killed at any moment."""

import os
import pathlib
import subprocess
import sys

from tests.checkpoint_case import FolderTestCase

# Saves in forks of itself, which are killed: first at every so manieth file
# operation of a save, then at random moments. A fork need not import anew.
KILLED = """
import os, random, signal, sys, time, traceback
import numpy as np
from dnc_jax import checkpoint

os.fsync = lambda descriptor: None  # Kills do not lose what it would save.
folder, every, at_random = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
checkpoints = checkpoint.Checkpoints(folder, keep=2)
like = {"w": np.zeros((7, 5)), "n": np.zeros((), np.int32)}
OPERATIONS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "open")

def tree(step):
  return {"w": np.full((7, 5), step / 3), "n": np.int32(step)}

def fork(function):
  sys.stdout.flush()
  pid = os.fork()
  if not pid:
    code = 1
    try:
      function()
      code = 0
    except BaseException:
      traceback.print_exc()
    finally:
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(code)
  return pid

def newest():
  restored = checkpoints.restore(like)
  return (0, None, None) if restored is None else restored

def save_and_die(operation):
  step = newest()[0] + 1
  left = operation
  def hook(event, args):
    nonlocal left
    if event in OPERATIONS:
      left -= 1
      if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
  sys.addaudithook(hook)
  checkpoints.save(step, tree(step), {"step": step})

def save_forever():
  step = newest()[0]
  while True:
    step += 1
    checkpoints.save(step, tree(step), {"step": step})
    os.write(report, b"%d\\n" % step)

def check(least):
  step, arrays, host = newest()
  assert step >= least, (step, least)
  if step:
    assert host == {"step": step}
    for name, value in tree(step).items():
      np.testing.assert_array_equal(arrays[name], value, strict=True)
  # Every other checkpoint that is there is whole too.
  there = os.listdir(folder) if os.path.isdir(folder) else []
  names = [name for name in there if name[0] != "."]
  assert len(names) == len(checkpoints.steps()), names
  print("newest", step)

def wait(pid):
  return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

operation, killed = 1, -signal.SIGKILL
while True:
  code = wait(fork(lambda: save_and_die(operation)))
  assert code in (0, killed), code
  assert wait(fork(lambda: check(0))) == 0
  print("operation", operation, code)
  if not code:
    break
  operation += every

random.seed(0)
for _ in range(at_random):
  read, report = os.pipe()
  pid = fork(save_forever)
  os.close(report)
  with os.fdopen(read) as file:
    least = int(file.readline())
    time.sleep(random.uniform(0, 0.1))
    os.kill(pid, signal.SIGKILL)
    assert wait(pid) == killed
    least = max([least, *map(int, file)])
  assert wait(fork(lambda: check(least))) == 0
  print("random", least)

assert wait(fork(lambda: checkpoints.save(10**6, like, {}))) == 0
print("left", *sorted(os.listdir(folder)))
"""


class KillTest(FolderTestCase):
  def test_a_kill_at_any_moment_leaves_whole_checkpoints_only(self):
    done = subprocess.run(
      [sys.executable, "-c", KILLED, str(self.folder), "7", "5"],
      cwd=pathlib.Path(__file__).parents[1],
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
      capture_output=True,
      text=True,
      timeout=120,
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertNotIn("damaged", done.stderr)
    lines = done.stdout.splitlines()
    kills = [line for line in lines if line.startswith("operation")]
    self.assertGreater(len(kills), 10, done.stdout)
    self.assertLen([x for x in lines if x.startswith("random")], 5)
    # The last save removed what the kills had left.
    self.assertRegex(lines[-1], r"^left \d{8} 01000000$")
