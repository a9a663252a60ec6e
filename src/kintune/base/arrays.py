"""Array types: dtype and shape are part of a signature, and are checked in the test run.

Letters: n images, d features, c classes, s source classes, t target classes, b draws.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int64

FeatureArray = Float32[np.ndarray, "n d"]
OutputArray = Float32[np.ndarray, "n 2"]
LabelArray = Int64[np.ndarray, " n"]
IndexArray = Int64[np.ndarray, " n"]
MeanArray = Float32[np.ndarray, "c d"]
WeightArray = Float64[np.ndarray, " c"]
CountArray = Int64[np.ndarray, " c"]
CenterArray = Float32[np.ndarray, " d"]
SourceMeans = Float32[np.ndarray, "s d"]
TargetMeans = Float32[np.ndarray, "t d"]
SourceWeights = Float64[np.ndarray, " s"]
TargetWeights = Float64[np.ndarray, " t"]
CostArray = Float64[np.ndarray, "s t"]
DrawArray = Float64[np.ndarray, " b"]
DrawnOffsets = Float32[np.ndarray, "b d"]
UnitArray = Float32[np.ndarray, "s d"]
DirectionArray = Float64[np.ndarray, "c d"]
