"""Python ends without a crash, whatever is left of the window."""

import os
import subprocess
import sys

SCRIPT = """
import gc
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QApplication, QWidget
from heliorestore.plugin.viewer.end_of_python import end_safely

class Part(QObject):
    def __init__(self, panel):
        super().__init__(panel)
        self.panel = panel

gc.disable()
app = QApplication([])
end_safely()
for _ in range(300):
    Part(QWidget())
gc.freeze()
"""


def test_panels_that_are_left_do_not_crash_the_end_of_python():
    # memory that is freed is overwritten, so that reading it crashes each time
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "PYTHONMALLOC": "debug"}
    command = [sys.executable, "-c", SCRIPT]
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
