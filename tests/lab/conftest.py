"""The lab's fixtures, and its package, which is not installed."""

import sys
from pathlib import Path

LAB = Path(__file__).resolve().parents[2] / "deploy" / "lab"
sys.path.insert(0, str(LAB))

from tillerman_lab.fixtures import control_plane, lab, start_control_plane  # noqa: E402

__all__ = ["control_plane", "lab", "start_control_plane"]
