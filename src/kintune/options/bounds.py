"""Bounds of numbers that more than one option has, declared once for command line and Python.

Each upper bound lies far above any use, and below what would overflow, run for ever or take all
memory.
"""

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1, le=10**9)]
"""Images, iterations, epochs of all runs together."""
Epochs = Annotated[int, Field(ge=1, le=10**6)]
BatchSize = Annotated[int, Field(ge=2, le=2**20)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Workers = Annotated[int, Field(ge=1, le=1024)]
Runs = Annotated[int, Field(ge=1, le=10_000)]
Repeats = Annotated[int, Field(ge=1, le=1000)]
Clusters = Annotated[int, Field(ge=1, le=100_000)]
LearningRate = Annotated[float, Field(ge=1e-12, le=1e6)]
Momentum = Annotated[float, Field(ge=0, le=0.9999)]
Decay = Annotated[float, Field(ge=0, le=1e6)]
Factor = Annotated[float, Field(ge=1e-6, le=1e6)]
Warmup = Annotated[float, Field(ge=0, le=1e6)]
"""Epochs."""
Milestone = Annotated[float, Field(gt=0, le=1e9)]
Minutes = Annotated[float, Field(gt=0, le=1e7)]
Hours = Annotated[float, Field(ge=0, le=1e6)]
Gamma = Annotated[float, Field(ge=1e-12, le=1e12)]
