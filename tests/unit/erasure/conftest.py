from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.erasure.builders import Installed, install


@pytest.fixture
def here(tmp_path: Path) -> Installed:
    return install(tmp_path)
