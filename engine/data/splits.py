"""Which training images are trained on and which are held out: by a seed of its own, equally for every class."""

import numpy as np
import numpy.typing as npt

from engine.data.hashing import hash64

Int64s = npt.NDArray[np.int64]


def stratified_split(labels: Int64s, validation: int, train_limit: int | None, seed: int) -> tuple[Int64s, Int64s]:
    """Divide ``labels`` (n,) into indices to train on and indices to validate on, both ascending.

    Every class gives in proportion to its size (largest remainders first). The validation images depend on ``labels``,
    ``validation`` and ``seed`` alone, so a limit on the training images leaves them as they are.
    """
    shuffled = np.argsort(hash64(seed, np.arange(len(labels), dtype=np.uint64)), kind="stable")
    held_out, rest = _take(shuffled, labels, validation)
    if train_limit is not None:
        rest, _ = _take(rest, labels, train_limit)
    return np.sort(rest), np.sort(held_out)


def _take(candidates: Int64s, labels: Int64s, count: int) -> tuple[Int64s, Int64s]:
    """The first ``count`` candidates in class proportion, and the others; both keep their order."""
    candidate_labels = labels[candidates]
    sizes = np.bincount(candidate_labels)
    quotas = _quotas(sizes, count)
    taken = np.zeros(len(candidates), dtype=bool)
    for label, quota in enumerate(quotas):
        taken[np.flatnonzero(candidate_labels == label)[:quota]] = True
    return candidates[taken], candidates[~taken]


def _quotas(sizes: Int64s, count: int) -> Int64s:
    """Share ``count`` among classes in proportion to ``sizes``, the largest remainders rounded up."""
    shares, remainders = np.divmod(sizes * count, sizes.sum())
    missing = count - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return shares
