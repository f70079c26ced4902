"""Every test runs away from the user's own Airflow and Retune, and nothing phones home."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import settings

# No assertion is timed: a busy machine fails no test.
settings.register_profile("retune", deadline=None)
settings.load_profile("retune")

# Airflow reads its home when it is imported, so this cannot wait for a fixture.
_HOME = Path(tempfile.mkdtemp(prefix="retune-tests-"))

for _name in [name for name in os.environ if name.startswith(("AIRFLOW_", "RETUNE_"))]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": str(_HOME / "airflow"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME / 'airflow' / 'airflow.db'}",
    "AIRFLOW__CORE__DAGS_FOLDER": str(_HOME / "no-dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(_HOME / "no-plugins"),
    "RETUNE_PROJECT": str(Path(__file__).resolve().parents[1]),
    "RETUNE_HOME": str(_HOME / "retune"),
    "GX_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_OFFLINE": "1",
}


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)
