"""Conformance suites: what every engine, every reader and every runner must pass.

A suite is a class of pytest tests. A subclass gives what is to be tested as a fixture, and pytest
runs the rest.
"""

from kintune.testing.engines import EngineSuite
from kintune.testing.readers import ReaderSuite
from kintune.testing.runners import RunnerSuite

__all__ = ["EngineSuite", "ReaderSuite", "RunnerSuite"]
