from __future__ import annotations

from tests.unit.data.conftest import project

__all__ = ["project"]
