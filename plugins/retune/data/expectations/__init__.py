"""Expectations of our own: what a good conversation is, for suites in Great Expectations' JSON."""

from retune.data.expectations.classes import register
from retune.data.expectations.rules import RULES

__all__ = ["RULES", "register"]
