"""Registers Retune where this folder is Airflow's plugins folder and Retune is not installed by pip."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

# An installed Retune registers itself by its entry point; twice would be an import error.
if not entry_points(group="airflow.plugins", name="retune"):
    _here = str(Path(__file__).resolve().parent)
    if _here not in sys.path:
        sys.path.append(_here)
    from retune.airflow.plugin import RetunePlugin  # noqa: F401
