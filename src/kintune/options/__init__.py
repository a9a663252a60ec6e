"""Options, as records: the command line's flags and the Python API's keywords.

Each record checks its values when it is made, and all its faults are reported together.
"""

from kintune.options.commands import (
    CacheOptions,
    CheckOptions,
    DemoOptions,
    FinetuneOptions,
    PredictOptions,
    PrototypesOptions,
    RecommendOptions,
    ReferenceOptions,
    ReportOptions,
    ReproduceOptions,
    SearchOptions,
    SimilarityOptions,
    TuneOptions,
)
from kintune.options.parts import (
    ComputeOptions,
    DataOptions,
    ImageOptions,
    InputOptions,
    ModelOptions,
    Options,
    OutputOptions,
    SourceOptions,
    TaskOptions,
    TrainingOptions,
)

__all__ = [
    "CacheOptions",
    "CheckOptions",
    "ComputeOptions",
    "DataOptions",
    "DemoOptions",
    "FinetuneOptions",
    "ImageOptions",
    "InputOptions",
    "ModelOptions",
    "Options",
    "OutputOptions",
    "PredictOptions",
    "PrototypesOptions",
    "RecommendOptions",
    "ReferenceOptions",
    "ReportOptions",
    "ReproduceOptions",
    "SearchOptions",
    "SimilarityOptions",
    "SourceOptions",
    "TaskOptions",
    "TrainingOptions",
    "TuneOptions",
]
