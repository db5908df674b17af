"""The types of arrays that many parts speak of; docstrings give the shapes."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
