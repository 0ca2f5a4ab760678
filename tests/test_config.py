"""Settings: building with checks, YAML's traps, ``--set``, settings files; and the errors everything raises."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import expunge.errors
from expunge.config import Choice, build, field_names, parse_overrides, parse_yaml, read_settings_file, to_plain
from expunge.errors import ExpungeError, ExpungeWarning, InputError, MissingNeedError, UnknownNameError
from expunge.registry import Registry

CANARY = "canary-91bf"


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 2
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    rate: float = 0.5
    count: int | None = None
    mode: Literal["fast", "exact"] = "fast"
    label: str = "x"
    inner: Inner = field(default_factory=Inner)
    other: Inner | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    derived: int = field(default=7, init=False)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise MissingNeedError(f"rate must not be negative, not {self.rate}.")


@dataclass(frozen=True, kw_only=True)
class Required:
    rate: float


def outer(**values: Any) -> Outer:
    return build(Outer, values, where="thing")


def test_build_converts_text_and_fills_defaults() -> None:
    assert outer() == Outer()
    built = outer(rate="1e-5", count="3", mode="exact", inner={"width": "4", "names": ["a"]}, other={"width": 1})
    assert built == Outer(
        rate=1e-5, count=3, mode="exact", inner=Inner(width=4, names=("a",)), other=Inner(width=1), extra={}
    )
    assert isinstance(built.rate, float)
    assert isinstance(built.inner, Inner)


def test_instances_pass_through() -> None:
    inner = Inner(width=9)
    assert outer(inner=inner).inner is inner


def test_unknown_name_is_refused_with_a_suggestion_and_the_list() -> None:
    with pytest.raises(UnknownNameError, match=r"thing has no setting 'rat'.*Did you mean 'rate'.*Known: count, extra"):
        outer(rat=1)
    with pytest.raises(UnknownNameError, match="has no setting 5"):
        build(Outer, {5: 1}, where="thing")  # type: ignore[dict-item]
    with pytest.raises(UnknownNameError, match="derived"):
        outer(derived=1)


@pytest.mark.parametrize("name", ["inner", "other"])
def test_unknown_name_below_the_top_is_refused_too(name: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"thing, {name} has no setting 'widht'.*'width'"):
        outer(**{name: {"widht": 1}})


def test_free_mappings_keep_their_names() -> None:
    assert outer(extra={"anything": {"goes": 1}}).extra == {"anything": {"goes": 1}}


@pytest.mark.parametrize(
    "values", [{"rate": CANARY}, {"mode": CANARY}, {"inner": {"width": CANARY}}, {"inner": CANARY}]
)
def test_wrong_value_names_the_field_and_never_the_value(values: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        outer(**values)
    assert CANARY not in str(caught.value)
    assert next(iter(values)) in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@dataclass(frozen=True, kw_only=True)
class Kinds:
    rate: float = 0.5
    count: int | None = None
    on: bool = False
    fixed: Literal[1, 2] = 1
    shares: tuple[float, ...] = ()
    pair: tuple[int, bool] = (0, False)
    bounds: Mapping[str, float] = field(default_factory=dict)
    inner: Inner | None = None
    either: bool | float = False
    text: float | str = 0.0
    free: Any = None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"rate": True}, "thing: rate needs a number, not true"),
        ({"count": False}, "thing: count needs a number, not false"),
        ({"fixed": True}, "thing: fixed needs a number, not true"),
        ({"on": 1}, "thing: on needs true or false, not a number"),
        ({"on": 0.0}, "thing: on needs true or false, not a number"),
        ({"on": "1"}, "thing: on needs true or false, not text"),
        ({"rate": float("nan")}, "thing: rate needs a finite number"),
        ({"rate": "-inf"}, "thing: rate needs a finite number"),
        ({"rate": 10**400}, "thing: rate needs a finite number"),
        ({"shares": [0.1, True]}, r"thing: shares\[1\] needs a number"),
        ({"shares": (0.1, float("inf"))}, r"thing: shares\[1\] needs a finite number"),
        ({"bounds": {"low": True}}, "thing: bounds.low needs a number"),
        ({"inner": {"width": True}}, "thing: inner: width needs a number"),
    ],
)
def test_numbers_and_truth_values_are_not_mixed_up(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        build(Kinds, values, where="thing")


@pytest.mark.parametrize(
    "values",
    [
        {"either": True},
        {"either": 0.5},
        {"on": "true"},
        {"on": "False"},
        {"rate": 1},
        {"pair": [1, True]},
        {"text": "nan"},
        {"free": {"a": [True, float("nan")]}},
    ],
)
def test_what_a_setting_may_be_is_taken(values: dict[str, Any]) -> None:
    build(Kinds, values, where="thing")


@dataclass(frozen=True, kw_only=True)
class Texts:
    layer: str = "0.5"
    layers: str | None = None
    names: tuple[str, ...] = ()
    inner: Outer | None = None
    either: float | str = 0.0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("layer=2", Texts(layer="2")),
        ("layer=-1", Texts(layer="-1")),
        ("layer=1.0", Texts(layer="1.0")),  # a fraction of the depth, unlike 1
        ("layer='2'", Texts(layer="2")),
        ("layers=2", Texts(layers="2")),
        ("layers=null", Texts()),
        ("names=[1, b]", Texts(names=("1", "b"))),
        ("inner.label=7", Texts(inner=Outer(label="7"))),
        ("either=2", Texts(either=2.0)),
    ],
)
def test_a_bare_number_is_text_where_only_text_can_be_set(given: str, expected: Texts) -> None:
    built = build(Texts, parse_overrides([given]), where="thing")
    assert built == expected
    assert isinstance(built.either, float)


@pytest.mark.parametrize("given", ["layer=true", "layer=.nan", "layer=.inf", "layers=false", "names=[true]"])
def test_a_truth_value_or_nan_is_no_text(given: str) -> None:
    with pytest.raises(InputError, match="string"):
        build(Texts, parse_overrides([given]), where="thing")


def test_a_number_of_a_result_is_no_text() -> None:
    with pytest.raises(InputError, match="layer"):
        build(Texts, {"layer": 2}, where="thing", finite=False)


def test_results_may_hold_numbers_that_are_not_finite() -> None:
    assert math.isnan(build(Kinds, {"rate": math.nan}, where="thing", finite=False).rate)


@pytest.mark.parametrize("values", [None, 5, "text", ["rate"]])
def test_settings_that_are_no_mapping(values: Any) -> None:
    with pytest.raises(InputError, match=f"takes settings by name, not {type(values).__name__}"):
        build(Outer, values, where="thing")


def test_missing_setting_is_named() -> None:
    with pytest.raises(InputError, match="rate: Field required"):
        build(Required, {}, where="thing")


def test_what_a_dataclass_says_about_itself_arrives_unchanged() -> None:
    with pytest.raises(MissingNeedError) as caught:
        outer(rate=-1)
    assert str(caught.value) == "rate must not be negative, not -1.0."


def test_field_names_leave_out_what_cannot_be_set() -> None:
    assert field_names(Outer) == ["rate", "count", "mode", "label", "inner", "other", "extra"]


def test_choice_parses_names_mappings_and_itself() -> None:
    plain = Choice("kl")
    assert Choice.parse("kl") == plain
    assert Choice.parse(plain) is plain
    assert Choice.parse({"name": "kl", "settings": {"a": 1}}) == Choice("kl", {"a": 1})
    with pytest.raises(UnknownNameError, match="settings"):
        Choice.parse({"name": "kl", "setings": {}})
    with pytest.raises(InputError, match="axis value takes settings by name, not int"):
        Choice.parse(3)  # type: ignore[arg-type]


def test_choice_creates_what_the_registry_holds() -> None:
    registry = Registry("things", "thing")
    registry.register("inner")(Inner)
    assert Choice("inner", {"width": "8"}).create(registry) == Inner(width=8)
    with pytest.raises(UnknownNameError, match="thing 'inner' has no setting 'widh'"):
        Choice("inner", {"widh": 8}).create(registry)


@given(
    st.builds(
        Outer,
        rate=st.floats(0, allow_nan=False, allow_infinity=False),
        count=st.none() | st.integers(),
        mode=st.sampled_from(["fast", "exact"]),
        label=st.text(),
        inner=st.builds(Inner, width=st.integers(), names=st.tuples(st.text())),
        other=st.none() | st.builds(Inner),
    )
)
def test_plain_data_builds_the_same_settings_again(settings: Outer) -> None:
    plain = to_plain(settings)
    assert build(Outer, plain, where="thing") == settings
    assert build(Outer, json.loads(json.dumps(plain)), where="thing") == settings


def test_to_plain_makes_paths_text_and_leaves_out_derived_fields() -> None:
    assert to_plain({"a": Path("b/c"), 1: (1, [2])}) == {"a": "b/c", "1": [1, [2]]}
    assert "derived" not in to_plain(Outer())
    assert to_plain(Outer) is Outer  # the class itself is no value


YAML = [
    ("no", "no"),
    ("off", "off"),
    ("yes", "yes"),
    ("1:30", "1:30"),
    ("2020-01-01", "2020-01-01"),
    ("010", "010"),
    ("1_000", "1_000"),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("none", "none"),
    ("1e-5", 1e-5),
    ("-2.5E+3", -2500.0),
    (".5", 0.5),
    ("3.", 3.0),
    ("-3", -3),
    ("0", 0),
    (".inf", float("inf")),
    ("'1'", "1"),
    ("[1, 2.0, a]", [1, 2.0, "a"]),
    ("{a: {b: 1}}", {"a": {"b": 1}}),
]


@pytest.mark.parametrize(("text", "value"), YAML)
def test_plain_values_of_yaml(text: str, value: Any) -> None:
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)
    assert parse_overrides([f"key={text}"]) == {"key": value}


@given(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none())
def test_json_numbers_are_read_back(value: Any) -> None:
    text = json.dumps(value).replace("Infinity", ".inf")
    assert parse_yaml(text) == value


BROKEN = ["[1", "a: b: c", "!!python/object/apply:os.getcwd []", "\t%", "&a [*b]", "[" * 400]


@pytest.mark.parametrize("text", BROKEN)
def test_broken_yaml_is_an_input_error_without_its_text(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_overrides([f"key={text}{CANARY}"])
    assert "--set key" in str(caught.value)
    assert CANARY not in str(caught.value)


def test_overrides_nest_and_the_later_counts() -> None:
    given = ["a=1", "b.c-d=x", "b.e={f: 1}", "b.e.g=2", "a=2", "t=p=q"]
    assert parse_overrides(given) == {"a": 2, "b": {"c_d": "x", "e": {"f": 1, "g": 2}}, "t": "p=q"}
    assert parse_overrides([]) == {}


@pytest.mark.parametrize("pair", ["a", "=1", " =1", "a..b=1", ".a=1", "a.=1", ""])
def test_overrides_without_a_key_are_refused(pair: str) -> None:
    with pytest.raises(InputError, match="--set takes key=value"):
        parse_overrides([pair])


@pytest.mark.parametrize("pairs", [["a=1", "a.b=2"], ["a.b=2", "a=1"]])
def test_a_key_has_a_value_or_settings(pairs: list[str]) -> None:
    with pytest.raises(InputError, match="already given"):
        parse_overrides(pairs)


def test_settings_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rate: 1e-5\nmode: no\n")
    (tmp_path / "b.json").write_text('{"rate": 2, "mode": "no"}')
    assert read_settings_file(tmp_path / "a.yaml") == {"rate": 1e-5, "mode": "no"}
    assert read_settings_file(tmp_path / "b.json") == {"rate": 2, "mode": "no"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", CANARY.encode() + b": [", "not valid"),
        ("a.json", b"{" + CANARY.encode(), "not valid"),
        ("a.json", b"[" * 100_000, "not valid"),
        ("a.yaml", b"\xff\xfe" + CANARY.encode(), "not valid"),
        ("a.yaml", CANARY.encode(), "must hold a mapping of settings, not str"),
        ("a.yaml", b"", "must hold a mapping of settings, not NoneType"),
        ("a.yaml", None, "cannot be read: No such file"),
    ],
)
def test_bad_settings_files(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_settings_file(tmp_path / name)
    assert CANARY not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


EXIT_CODES = {
    "ExpungeError": 1,
    "InputError": 2,
    "UnknownNameError": 2,
    "MissingNeedError": 2,
    "UnfitModelError": 2,
    "UnsafeModelError": 2,
    "MissingExtraError": 2,
    "LockedError": 2,
    "DivergedError": 3,
    "VerificationError": 4,
    "ResourceError": 5,
    "InterruptedRunError": 75,
}


def test_every_error_has_its_exit_code_and_a_builtin() -> None:
    classes = {name: item for name, item in vars(expunge.errors).items() if isinstance(item, type)}
    errors = {name: item for name, item in classes.items() if issubclass(item, ExpungeError)}
    assert {name: errors[name].exit_code for name in EXIT_CODES} == EXIT_CODES
    assert {item.exit_code for item in errors.values()} <= {1, 2, 3, 4, 5, 75, 130}
    for name, item in errors.items():
        builtins = [base for base in item.__mro__ if base.__module__ == "builtins" and base not in (Exception, object)]
        assert len(builtins) > 1 or name == "ExpungeError", f"{name} refines no builtin"


def test_the_warning_is_not_an_error() -> None:
    assert issubclass(ExpungeWarning, UserWarning)
    assert not issubclass(ExpungeWarning, ExpungeError)


def test_settings_stay_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        outer().rate = 1.0  # type: ignore[misc]
