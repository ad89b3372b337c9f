"""What tests of scripts share."""

import hashlib
import json
import pathlib
import shutil
import tempfile

from absl.testing import parameterized

from tests import processes


def files(folder):
  """Returns what a script could lose or leave behind: names and contents."""
  return {
    str(path.relative_to(folder)): path.is_file()
    and hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(folder.rglob("*"))
    if not path.name.startswith(".")
  }


class ScriptTestCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  @classmethod
  def run_once(cls, name, *flags):
    """Returns a folder that a script was run in, for all tests of a class."""
    folder = pathlib.Path(tempfile.mkdtemp())
    cls.addClassCleanup(shutil.rmtree, folder)
    done = processes.run_script(name, *flags, folder=folder)
    assert (done.status, done.stderr) == (0, ""), done
    return folder

  def run_script(self, name, *flags):
    done = processes.run_script(name, *flags, folder=self.folder)
    self.assertEqual((done.status, done.stderr), (0, ""), done)
    return done.stdout

  def measured(self, *flags):
    stdout = self.run_script("evaluate", "--episodes=6", *flags)
    return json.loads(stdout.splitlines()[-1])

  def check_refusal(self, pattern, name, *flags):
    before = files(self.folder)
    done = processes.run_script(name, *flags, folder=self.folder)
    self.assertEqual(done.status, 1, done)
    self.assertStartsWith(done.stderr, "error: ")
    self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
    self.assertRegex(done.stderr, pattern)
    self.assertEqual(done.stdout, "")
    self.assertEqual(files(self.folder), before)
