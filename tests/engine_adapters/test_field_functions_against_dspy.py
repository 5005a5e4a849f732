"""The functions that adapters of users call, against those of `dspy.adapters.utils`."""

import warnings
from types import ModuleType
from typing import Any, Literal, Optional

import dspex.engine as engine
import pytest
from adapter_corpus import CASES, Case, Color, Person
from dspex.engine.adapters import by_field_info as mine

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


@pytest.fixture(scope="module")
def theirs(dspy: ModuleType) -> Any:
    from dspy.adapters import utils

    return utils


def outcome(function: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return repr(function(*args, **kwargs))
    except Exception as error:
        return type(error).__name__, str(error)


@EACH_CASE
def test_fields_are_described_and_written_as_dspy_does(case: Case, theirs: Any, dspy: ModuleType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        my_fields, their_fields = case.make(engine).fields, case.make(dspy).fields
        assert mine.get_field_description_string(my_fields) == theirs.get_field_description_string(their_fields)
        for name, info in my_fields.items():
            assert mine.translate_field_type(name, info) == theirs.translate_field_type(name, their_fields[name])
            annotation = info.annotation
            assert mine.get_annotation_name(annotation) == theirs.get_annotation_name(annotation)
            assert mine.annotation_allows_none(annotation) == theirs.annotation_allows_none(annotation)
            for inputs in case.inputs:
                for value in inputs.values():
                    got = outcome(mine.format_field_value, info, value)
                    wanted = outcome(theirs.format_field_value, their_fields[name], value)
                    assert got == wanted or (got[0], wanted[0]) == ("FieldValueError", "TypeError")


@pytest.mark.parametrize(
    "annotation",
    [str, int, float, bool, list[int], dict[str, int], Color, Literal["a", 1], Optional[str], int | None, Person, Any],  # noqa: UP045
    ids=str,
)
def test_values_are_read_as_dspy_reads_them(annotation: Any, theirs: Any) -> None:
    values = [1, 0.5, True, None, [], [1], {}, {"a": 1}, {"name": "x"}, Color.RED, Person(name="x"), (1,), b"x"]
    values += ["1", "0.5", "true", "null", "[1, 2]", "{'a': 1}", "red", "RED", "a", "'a'", "", '{"name": "x"}', "None"]
    for value in values:
        got, wanted = outcome(mine.parse_value, value, annotation), outcome(theirs.parse_value, value, annotation)
        assert got == wanted or wanted[0] == "TypeError", value


def test_a_value_can_be_a_content_part_and_defaults_are_filled_in(theirs: Any, dspy: ModuleType) -> None:
    text = "q -> a, b: str | None, c: Optional[int]"
    my_signature, their_signature = engine.Signature(text), dspy.Signature(text)
    info = my_signature.fields["q"]
    assert mine.format_field_value(info, "x", assume_text=False) == {"type": "text", "text": "x"}
    for fields in ({}, {"a": 1}, {"c": 3, "a": 1}, {"b": None, "x": 1}):
        got = mine.apply_output_field_defaults(my_signature, fields)
        assert list(got.items()) == list(theirs.apply_output_field_defaults(their_signature, fields).items())
    assert mine.find_enum_member(Color, "GREEN") is Color.GREEN
    assert mine.serialize_for_json({"a": Color.RED}) == {"a": "red"}
