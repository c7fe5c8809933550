"""Integer hashes, the same on every machine and for every version of every library."""

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]


def hash64(seed: int, *keys: int | UInt64s) -> UInt64s:
    """Hash integers, or arrays of them that broadcast, to uniform 64-bit integers.

    A SplitMix64 step a key (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    state = np.asarray(seed % 2**64, dtype=np.uint64)
    for key in keys:
        state = _splitmix64(state ^ np.asarray(key, dtype=np.uint64))
    return state


def _splitmix64(state: UInt64s) -> UInt64s:
    # Arrays wrap silently where scalars warn, so the arithmetic runs on one-dimensional views.
    mixed = np.atleast_1d(state) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed.reshape(state.shape)
