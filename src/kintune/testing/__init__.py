"""Conformance suites: what every engine and every runner must pass.

A suite is a class of pytest tests. A subclass gives what is to be tested as a fixture, and pytest
runs the rest.
"""

from kintune.testing.engines import EngineSuite
from kintune.testing.runners import RunnerSuite

__all__ = ["EngineSuite", "RunnerSuite"]
