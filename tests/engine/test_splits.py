"""Splits: disjoint, in proportion, and a function of labels, sizes and seed alone."""

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.hashing import hash64
from engine.data.splits import stratified_split

LABELS = np.arange(1_000) % 10


def test_every_class_gives_alike() -> None:
    train, validation = stratified_split(LABELS, 200, None, seed=1)
    assert np.bincount(LABELS[validation]).tolist() == [20] * 10
    assert np.bincount(LABELS[train]).tolist() == [80] * 10
    assert sorted([*train, *validation]) == list(range(1_000))


def test_a_limit_leaves_the_validation_images_alone() -> None:
    _, validation = stratified_split(LABELS, 200, None, seed=1)
    train, limited = stratified_split(LABELS, 200, 100, seed=1)
    assert np.array_equal(validation, limited)
    assert np.bincount(LABELS[train]).tolist() == [10] * 10
    assert not set(train) & set(validation)


def test_a_larger_limit_adds_images() -> None:
    small, _ = stratified_split(LABELS, 200, 100, seed=1)
    large, _ = stratified_split(LABELS, 200, 300, seed=1)
    assert set(small) < set(large)


def test_seeds_differ() -> None:
    _, first = stratified_split(LABELS, 200, None, seed=1)
    _, second = stratified_split(LABELS, 200, None, seed=2)
    assert not np.array_equal(first, second)


def test_the_split_is_the_same_on_every_machine() -> None:
    _, validation = stratified_split(np.arange(50_000) % 10, 5_000, None, seed=6953)
    assert hashlib.sha256(validation.astype("<i8").tobytes()).hexdigest() == SPLIT_SHA256


def test_hash_is_splitmix64() -> None:
    # The first outputs of the reference generator from state 0: its state advances by the golden gamma.
    gamma = 0x9E3779B97F4A7C15
    outputs = [int(hash64(gamma * step, 0)) for step in range(3)]
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=4, max_size=80),
    share=st.floats(0, 1),
    limit_share=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_labels_split_in_proportion(labels: list[int], share: float, limit_share: float, seed: int) -> None:
    array = np.array(labels)
    count = int(share * (len(labels) - 1))
    limit = max(1, int(limit_share * (len(labels) - count)))
    train, validation = stratified_split(array, count, limit, seed)
    assert len(validation) == count
    assert len(train) == limit
    assert not set(train) & set(validation)
    expected = np.bincount(array) * count / len(labels)
    assert (np.abs(np.bincount(array[validation], minlength=len(expected)) - expected) < 1).all()


SPLIT_SHA256 = "55c05cdcfdc02c5339f5830faebf66f55021a83a164b6927eca1660a2d0a8396"
