import math
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine import strict_yaml
from engine.errors import UserError
from engine.strict_yaml import dump, parse


@pytest.fixture(params=["libyaml", "pure Python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with both parsers of PyYAML, as a machine may lack libyaml."""
    if request.param == "pure Python":
        monkeypatch.setattr(strict_yaml, "_LOADER", yaml.Loader)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")


SCALARS: dict[str, Any] = {
    "1e-3": 0.001, "1E+2": 100.0, "3e4": 30000.0, ".5": 0.5, "-1.": -1.0, "0.1": 0.1, "1.5e+3": 1500.0,
    "no": "no", "yes": "yes", "on": "on", "Off": "Off", "y": "y", "n": "n",
    "true": True, "False": False, "TRUE": True,
    "010": 10, "0o10": 8, "0x1F": 31, "-7": -7, "+7": 7, "0": 0, "1_000": "1_000", "0b11": "0b11",
    "null": None, "~": None, "": None, "None": "None",
    "1:30": "1:30", "2026-01-31": "2026-01-31", "=": "=", "1e": "1e", "e3": "e3", "1.2.3": "1.2.3", ".": ".",
    "'1'": "1", '"true"': "true", "'null'": "null",
    ".inf": math.inf, "-.Inf": -math.inf,
}  # fmt: skip


@pytest.mark.parametrize(("written", "value"), SCALARS.items())
def test_scalars_mean_what_a_person_means(written: str, value: Any) -> None:
    read = parse(f"a: {written}", "x").value["a"]
    assert read == value
    assert type(read) is type(value)


def test_blocks_are_text_and_nan_is_a_number() -> None:
    assert parse("a: |\n  1\nb: >-\n  true\n", "x").value == {"a": "1\n", "b": "true"}
    assert math.isnan(parse("a: .nan", "x").value["a"])


def test_values_nest_and_keys_are_text() -> None:
    text = "a: [1, {b: 2}]\n10: x\nno: y\nc:\n- d: 1\n  e: []\n- {}\n"
    assert parse(text, "x").value == {"a": [1, {"b": 2}], "10": "x", "no": "y", "c": [{"d": 1, "e": []}, {}]}


def test_byte_order_mark_and_bytes_are_read() -> None:
    assert parse(b"\xef\xbb\xbfa: 1\r\n", "x").value == {"a": 1}
    assert parse("\ufeffa: ü", "x").value == {"a": "ü"}


REFUSED: dict[str, tuple[bytes | str, str, str]] = {
    "duplicate key": ("a: 1\nb: 2\na: 3\n", "3:1", "a second time, first on line 1"),
    "duplicate key deep": ("a:\n  - b: 1\n    b: 1\n", "3:5", "first on line 2"),
    "duplicate key, one quoted": ("10: 1\n'10': 1\n", "2:1", "a second time"),
    "tab": ("a:\n\tb: 1\n", "2:1", "a tab cannot indent"),
    "NUL": ("a: 1\nb: \0\n", "2:4", "U+0000"),
    "escape character": ("a: \x1b[31m", "1:4", "U+001B"),
    "two documents": ("a: 1\n---\nb: 1\n", "2:1", "second document"),
    "binary": (b"\x89PNG\r\n\x1a\n", "1:1", "0x89"),
    "UTF-16": ("a: 1".encode("utf-16"), "1:1", "UTF-16"),
    "UTF-16 without a mark": ("a: 1".encode("utf-16-le"), "1:2", "U+0000"),
    "Latin-1": ("a: 1\nbé: é".encode("latin-1"), "2:2", "0xe9"),
    "anchor": ("a: &x 1\n", "1:4", "anchor `x`"),
    "anchor on a key": ("&x a: 1\n", "1:1", "anchor"),
    "alias": ("a: *x\n", "1:4", "alias `x`"),
    "merge key": ("<<: {a: 1}\n", "1:1", "merge key"),
    "tag": ("a: !!python/object/apply:os.system [true]\n", "1:4", "python/object/apply:os.system`"),
    "local tag": ("a: !x 1\n", "1:4", "tag `!x`"),
    "empty tag": ("a: ! 1\n", "1:4", "tag `!`"),
    "5,000 digits": ("a: " + "1" * 5000, "1:4", "5,000 characters"),
    "5,000 digits of a float": ("a: 1." + "1" * 5000, "1:4", "5,002 characters"),
    "5,000 brackets": ("a: " + "[" * 5000, "1:67", "64 levels"),
    "64,000 brackets": ("[" * 64_000, "1:65", "64 levels"),
    "30,000 dashes": ("- " * 30_000, "1:129", "64 levels"),
    "16,000 braces": ("{a: " * 16_000, "1:257", "64 levels"),
    "braces as keys": ("{" * 64_000, "1:2", "a key must be text"),
    "100,000 brackets": ("[" * 100_000, "1:1", "100,000 bytes"),
    "too many values": ("[" + "1," * 25_000 + "]", "1:40000", "20,000 values"),
    "list as a key": ("? [a]\n: 1\n", "1:3", "a key must be text"),
    "no key": ("?\n: 1\n", "1:2", "a key is missing"),
    "two colons": ("a: b: c\n", "1:5", "quotes"),
    "reserved sign": ("a: @x\n", "1:4", "quotes"),
    "quote left open": ("a: 1\nb: 'x\n", "3:1", "began on line 2"),
    "bracket left open": ("a: [1\n", "2:1", "not YAML"),
    "surrogate": ('a: "\\ud800"\n', "1:", ""),
    "no character": ('a: "\\UFFFFFFFF"\n', "1:", ""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "position", "words"), REFUSED.values(), ids=REFUSED)
def test_surprises_are_refused_with_line_and_column(text: bytes | str, position: str, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse(text, "x.yaml")
    message = str(refusal.value)
    assert message.startswith(f"x.yaml:{position}")
    assert words in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_messages_are_cleaned_and_short(end: str) -> None:
    key = '"' + "k" * 900 + '\\e]0;owned\\a"'
    with pytest.raises(UserError) as refusal:
        parse(f"{key}: 1{end}{key}: 2{end}", "bad\x1b[2Jname.yaml")
    message = str(refusal.value)
    assert message.isprintable()
    assert message.startswith("badname.yaml:2:1:")
    assert len(message) < 200


def test_top_level_must_be_a_mapping_when_asked() -> None:
    assert parse("a: 1", "x").mapping() == {"a": 1}
    for text, found in [
        ("", "nothing"),
        ("# comment\n", "nothing"),
        ("\n- 1", "a list"),
        ("a", "a text"),
        ("3", "a single"),
    ]:
        document = parse(text, "x")
        with pytest.raises(UserError, match=f"^x:[12]:1: .*found {found}"):
            document.mapping()


def test_lines_are_of_the_key_or_the_nearest_thing_that_holds_it() -> None:
    document = parse("# comment\na:\n  b: 1\n  c:\n  - x\n  - y: 1\n    z: 2\nd: {e: 1}\n", "x")
    paths = {(): 2, ("a",): 2, ("a", "b"): 3, ("a", "c"): 4, ("a", "c", 0): 5, ("a", "c", 1): 6, ("a", "c", 1, "z"): 7}
    assert {path: document.line(path) for path in paths} == paths
    assert document.line(("d", "e")) == 8
    assert document.line(("a", "c", 9, "q")) == 4
    assert document.line(("zz",)) == 2
    assert parse("", "x").line(("a",)) == 1


def test_work_stops_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser is not asked for what follows the level or the value that is one too many."""
    given_events = 0
    events = yaml.parse

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal given_events
        for event in events(*args, **options):
            given_events += 1
            yield event

    monkeypatch.setattr(yaml, "parse", counted)
    with pytest.raises(UserError, match="levels"):
        parse("[" * 60_000, "x")
    assert given_events < 100


BOMB = "a: &a {x: 1}\n" + "".join(f"b{i}: &b{i}\n  <<: [{', '.join(['*a'] * 9)}]\n" for i in range(20))


def test_merge_bomb_is_refused_before_it_grows() -> None:
    with pytest.raises(UserError, match="anchor"):
        parse(BOMB, "x")


def test_no_object_is_built_from_a_tag(tmp_path: Any) -> None:
    witness = tmp_path / "ran"
    for tag in ("!!python/object/apply:pathlib.Path.touch", "!!python/object/new:pathlib.Path"):
        with pytest.raises(UserError):
            parse(f"a: {tag} [{witness}]", "x")
    assert not witness.exists()


def plain_safe_load(text: bytes | str) -> Any:
    """What PyYAML alone makes of it: the mutant with every protection away."""
    return yaml.safe_load(text)


SURVIVORS = ["duplicate key", "anchor", "merge key", "5,000 digits of a float", "too many values", "duplicate key deep"]


@pytest.mark.mutant
@pytest.mark.parametrize("case", SURVIVORS)
def test_pyyaml_alone_accepts_what_is_refused_here(case: str) -> None:
    plain_safe_load(REFUSED[case][0])


@pytest.mark.mutant
@pytest.mark.parametrize("written", ["1e-3", "no", "010", "1:30", "2026-01-31", "1_000"])
def test_pyyaml_alone_misreads_what_is_right_here(written: str) -> None:
    assert plain_safe_load(f"a: {written}")["a"] != SCALARS[written]


ALLOWED_WITHOUT = {
    "MAX_DEPTH": "[" * 70 + "]" * 70,
    "MAX_NODES": "[" + "1," * 20_001 + "]",
    "MAX_BYTES": "#" * 70_000,
    "_MAX_NUMBER": "1" * 4000,
}


@pytest.mark.mutant
@pytest.mark.parametrize("bound", ALLOWED_WITHOUT)
def test_each_bound_is_what_refuses(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ALLOWED_WITHOUT[bound]
    with pytest.raises(UserError):
        parse(text, "x")
    monkeypatch.setattr(strict_yaml, bound, 10**9)
    parse(text, "x")


@pytest.mark.mutant
@pytest.mark.parametrize("text", ["a: &x 1", "a: !!python/tuple [1, 2]", "a: !!str 1"])
def test_without_the_check_of_each_value_anchors_and_tags_pass(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is not allowed"):
        parse(text, "x")
    monkeypatch.setattr(strict_yaml._Builder, "check", lambda self, event: None)
    parse(text, "x")


@pytest.mark.mutant
@pytest.mark.parametrize(("text", "value"), [("a: 1\na: 2", {"a": 2}), ("<<: {a: 1}", {"<<": {"a": 1}})])
def test_without_the_check_of_each_key_the_last_of_two_wins(
    text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError):
        parse(text, "x")
    monkeypatch.setattr(strict_yaml._Builder, "key", lambda self, event, parent: event.value)
    assert parse(text, "x").value == value


@pytest.mark.slow
@pytest.mark.mutant
def test_without_this_module_brackets_kill_the_process() -> None:
    load = "import yaml; yaml.load('[' * 100_000, Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader))"
    assert subprocess.run([sys.executable, "-c", load], capture_output=True).returncode != 0


text_values = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        "no",
        "1e-3",
        "",
        "~",
        "a: b",
        "# x",
        "-",
        "- a",
        "a\nb",
        "a\n",
        " a",
        "a ",
        "<<",
        "!x",
        "'",
        '"',
        "\t",
        "\x85",
        "\ufeff",
    ]
)
numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | numbers | text_values
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text_values, inner), max_leaves=25)


def same(left: Any, right: Any) -> bool:
    return bool(left == right) and repr(left) == repr(right)  # repr tells 1 from 1.0 and from True


@given(value=values)
def test_what_is_dumped_reads_back(value: Any) -> None:
    assert same(parse(dump(value), "x").value, value)


@given(value=st.dictionaries(text_values, scalars))
def test_other_readers_get_the_same_text(value: dict[str, Any]) -> None:
    """Text stays text for a YAML 1.1 reader too, such as an editor's or another program's."""
    texts = {key: item for key, item in value.items() if isinstance(item, str)}
    assert yaml.safe_load(dump(texts)) == texts


@given(data=st.binary() | st.text() | st.text(st.sampled_from("[]{}:,-?!&*|>'\"%@`#\n\t ab1\\\ufeff\x85")))
def test_whatever_comes_is_read_or_refused(data: bytes | str) -> None:
    try:
        value = parse(data, "x").value
    except UserError as refusal:
        value = str(refusal)
        assert value.isprintable()
    assert same(parse(dump(value), "x").value, value) or "nan" in repr(value)


def test_dump_is_readable_and_stable() -> None:
    value = {
        "name": "resnet_5m",
        "flag": "no",
        "lr": 0.001,
        "betas": (0.9, 0.999),
        "eps": 1e-08,
        "none": None,
        "ops": [{"op": "crop", "padding": 4}, {"op": "flip"}],
        "empty": [],
        "notes": "two\nlines",
    }
    assert dump(value) == (
        'name: resnet_5m\nflag: "no"\nlr: 0.001\nbetas: [0.9, 0.999]\neps: 1e-08\nnone: null\n'
        "ops:\n  - op: crop\n    padding: 4\n  - op: flip\nempty: []\nnotes: |-\n  two\n  lines\n"
    )


def test_the_deepest_value_that_is_written_is_read() -> None:
    deep: Any = [1, 2]
    for _ in range(strict_yaml.MAX_DEPTH - 1):
        deep = [deep]
    assert parse(dump(deep), "x").value == deep
    with pytest.raises(TypeError):
        dump([deep])


def test_dump_refuses_what_it_cannot_write_and_keeps_surrogates_out() -> None:
    for value in (object(), {1: "a"}, {"a": {1, 2}}, 10**200, {"k" * 2000: 1}):
        with pytest.raises(TypeError):
            dump(value)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(TypeError):
        dump(deep)
    dump({"a": "\udcff"}).encode("utf-8")
