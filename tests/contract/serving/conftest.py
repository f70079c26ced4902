"""The same stub of vLLM and real Envoy as in the unit tests."""

from tests.unit.serving.conftest import db, envoy, stub

__all__ = ["db", "envoy", "stub"]
