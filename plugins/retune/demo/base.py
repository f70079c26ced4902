"""Builds the tiny base model for an installation of the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from retune.errors import SetupError
from retune.settings import Settings
from retune.spec import PipelineSpec


def build_base(settings: Settings, spec: PipelineSpec, path: Path, steps: int) -> None:
    """Build the spec's base model in a process of its own: torch stays out of this one.

    Raises:
        SetupError: It could not be built; the error shows why.
    """
    output = settings.resolve(spec.recipes[0].base_model)
    command = [sys.executable, "-m", "retune.testing.tiny_base", str(path), str(output), str(steps)]
    environment = {**os.environ, "RETUNE_PROJECT": str(settings.project)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"the tiny base model was not built:\n{done.stderr[-2000:]}")
