"""The filter of runs: what matches, what does not, and what is said of a mistake."""

from pathlib import Path
from typing import Any

import pytest

from engine.run_view import RunView
from tui.filter import FilterError, fuzzy, parse

NOW = 1_000_000.0


def run(**fields: Any) -> RunView:
    facts: dict[str, Any] = {
        "id": "20260131-142233-9f3a1c",
        "name": "best_5m-s3",
        "state": "finished",
        "tags": ("paper", "seed study"),
        "note": "with debug prints",
        "architecture": "resnet_5m",
        "augmentation": "rotate_crop_flip",
        "optimizer": "adamw_amsgrad",
        "dataset": "cifar10",
        "device": "cuda:0 NVIDIA H200",
        "precision": "bf16",
        "reason": "",
        "sweep": "",
        "parent": "",
        "lr": 0.01,
        "seed": 6953,
        "batch_size": 128,
        "parameters": 4_779_530,
        "macs": 264_996_096,
        "epoch": 12.0,
        "epochs": 200.0,
        "step": 100,
        "steps": 1000,
        "best": 93.04,
        "best_epoch": 181,
        "test": None,
        "images_s": 9000.0,
        "active_s": 5400.0,
        "created": NOW - 3 * 86400,
    }
    return RunView(path=Path("/runs") / facts["id"], **(facts | fields))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "resnet",
        "RESNET",
        "b5s3",
        "9f3a1c",
        "amsgrad cifar10",
        "resnet lr>=0.01 status:finished tag:paper",
        "lr=1e-2",
        "lr!=0.1",
        "lr<.02",
        "params<5M",
        "params>4.7m",
        "macs<=0.3G",
        "val>93%",
        "time>1h",
        "time<100m",
        "age>2d age<1w",
        'tag:"seed study"',
        'tag="seed study"',
        "status:fin",
        "status!=failed",
        "-status:failed",
        "-note:todo",
        "-test>90",
        "vgg | resnet",
        "vgg lr>1 | lr<1 seed:6953",
        "Status:Finished",
        "device:h200",
        "status:live,finished",
        "tag:nothing,paper",
        'tag="seed study","x, y"',
        "arch:resnet,vgg -tag:debug,old",
    ],
)
def test_the_run_gets_through(text: str) -> None:
    assert parse(text, NOW).matches(run())


@pytest.mark.parametrize(
    "text",
    [
        "vgg",
        "resnet vgg",
        "-resnet",
        "-note:debug",
        "status:live",
        "tag=pap",
        "tag:paper lr>0.01",
        "test>0",
        "test<100",
        "params>5M",
        "age<1d",
        "vgg | dla",
        "s3b5",
        "status:live,failed",
        "status!=failed,finished",
        "-tag:debug,paper",
        'tag:"nothing,paper"',
    ],
)
def test_the_run_is_hidden(text: str) -> None:
    assert not parse(text, NOW).matches(run())


def test_a_sweep_is_found_by_its_name() -> None:
    assert parse("sweep:seed_c").matches(run(sweep="seed_c_optimizers"))
    assert not parse("sweep:seed_c").matches(run())


def test_live_means_all_four_states() -> None:
    assert all(parse("status:live").matches(run(state=state)) for state in ("queued", "starting", "running", "paused"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr>>", "lr>> at character 4: expected a number after >"),
        ("resnet lr>>", "lr>> at character 11: expected a number after >"),
        ("lr>", "lr> at character 4: expected a number after >"),
        ("lr>=x", "lr>=x at character 5: expected a number after >="),
        ("-lr>>", "lr>> at character 5: expected a number after >"),
        ("lr:", "lr: at character 4: expected a number after :"),
        ("params<5X", "params<5X at character 9: expected k m g % or no unit"),
        ("stauts:finished", "stauts:finished at character 1: nothing is called stauts; did you mean status?"),
        ("note>3", "note>3 at character 5: note is text; expected : = or != after it"),
        ("note:", "note: at character 6: expected a text after :"),
        ("tag:a,,b", "tag:a,,b at character 7: expected a text after ,"),
        ("status:live,", "status:live, at character 13: expected a text after ,"),
        ('tag:a,"b', 'a,"b at character 7: expected another " to end the text'),
        ('a "b', '"b at character 3: expected another " to end the text'),
        ("a |", "| at character 3: expected a term after |"),
        ("| a", "| at character 1: expected a term before |"),
        ("a -", "- at character 3: expected a term after -"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_an_unknown_key_without_a_neighbour_lists_the_keys() -> None:
    with pytest.raises(FilterError, match=r"expected one of .*architecture.*val"):
        parse("zzz:1")


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("best", "best_5m", True),
        ("5m", "best_5m", True),
        ("b5", "best_5m", True),
        ("bm", "best_5m", False),
        ("aab", "a_a_a_b", True),
        ("B5M", "best_5m", True),
        ("x", "", False),
    ],
)
def test_fuzzy_keeps_to_the_starts_of_words(pattern: str, name: str, found: bool) -> None:
    assert fuzzy(pattern, name) is found


def test_fuzzy_does_not_blow_up_on_repetitive_names() -> None:
    assert not fuzzy("a" * 40 + "b", "a_" * 100)
