# What Kintune uses of POT, which ships no types.
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

def emd(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    M: NDArray[np.float64],
    numItermax: int = ...,
    *,
    log: Literal[True],
) -> tuple[NDArray[np.float64], dict[str, Any]]: ...
