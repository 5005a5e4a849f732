"""Constructors, coercions, errors and texts of the types, against the installed dspy."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from pydantic import BaseModel, TypeAdapter

PNG = "data:image/png;base64,iVBORw0KGgo="
CALL = {"name": "search", "args": {"q": 1}}
CITED = {"cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1}


def seen(make: Any, ns: SimpleNamespace, *args: Any) -> Any:
    """Everything of a value that shows, or its error; and the warnings on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            shown = _shown(make(ns, *args))
        except Exception as error:
            shown = type(error).__name__, str(error).replace("httpx", "requests")
    return shown, [(each.category.__name__, str(each.message)) for each in caught]


def _shown(value: Any) -> Any:
    if not isinstance(value, BaseModel):
        return repr(value)
    parts: list[Any] = [type(value).__name__, repr(value), str(value), value.model_dump(), value.model_dump_json()]
    if hasattr(value, "format"):
        parts.append(value.format())
    return parts


IMAGES: list[Any] = [
    lambda ns: ns.Image("https://example.com/a.png"),
    lambda ns: ns.Image("http://example.com"),
    lambda ns: ns.Image("gs://bucket/a.png"),
    lambda ns: ns.Image(PNG),
    lambda ns: ns.Image(url=PNG),
    lambda ns: ns.Image({"url": PNG}),
    lambda ns: ns.Image({"url": PNG, "x": 1}),
    lambda ns: ns.Image(ns.Image(PNG)),
    lambda ns: ns.Image(url=ns.Image(PNG)),
    lambda ns: ns.Image(url={"url": PNG}),
    lambda ns: ns.Image("  https://padded.example/x  "),
    lambda ns: ns.Image("data:x"),
    lambda ns: ns.Image("ftp://x/y"),
    lambda ns: ns.Image("a.png"),
    lambda ns: ns.Image("/etc/passwd"),
    lambda ns: ns.Image(""),
    lambda ns: ns.Image("http://[bad"),
    lambda ns: ns.Image(),
    lambda ns: ns.Image(None),
    lambda ns: ns.Image(3),
    lambda ns: ns.Image([PNG]),
    lambda ns: ns.Image(PNG, url=PNG),
    lambda ns: ns.Image(PNG, extra=1),
    lambda ns: ns.Image(PNG, download=False),
    lambda ns: ns.Image(PNG, download=True),
    lambda ns: ns.Image(PNG, verify=False),
    lambda ns: ns.Image(url=PNG, download=True),
    lambda ns: ns.Image(download=True),
    lambda ns: ns.Image.from_url("ftp://x/y"),
    lambda ns: ns.Image.from_url(PNG),
    lambda ns: ns.Image.from_path("/no/such/file.png"),
    lambda ns: ns.Image.from_file("/no/such/file.png"),
    lambda ns: ns.Image.from_PIL(3),
    lambda ns: TypeAdapter(ns.Image).validate_python({"url": PNG}),
    lambda ns: TypeAdapter(ns.Image).validate_python(PNG),
    lambda ns: TypeAdapter(ns.Image).validate_python({"url": PNG, "download": True}),
    lambda ns: TypeAdapter(ns.Image).validate_python({"url": "x"}),
    lambda ns: setattr(ns.Image(PNG), "url", "x"),
    lambda ns: ns.Image(PNG) == ns.Image(PNG),
    lambda ns: hash(ns.Image(PNG)) == hash(ns.Image(PNG)),
]

AUDIO: list[Any] = [
    lambda ns: ns.Audio(b"abc"),
    lambda ns: ns.Audio(b"abc", audio_format="mp3"),
    lambda ns: ns.Audio("data:audio/x-wav;base64,YWJj"),
    lambda ns: ns.Audio("data:audio/mpeg,YWJj"),
    lambda ns: ns.Audio("data:audio/"),
    lambda ns: ns.Audio("data:audio/,x"),
    lambda ns: ns.Audio("data:image/png;base64,x"),
    lambda ns: ns.Audio("x.wav"),
    lambda ns: ns.Audio(data="YWJj", audio_format="wav"),
    lambda ns: ns.Audio(data="YWJj"),
    lambda ns: ns.Audio({"data": "YWJj", "audio_format": "wav"}),
    lambda ns: ns.Audio({"data": "YWJj"}),
    lambda ns: ns.Audio(ns.Audio(b"abc")),
    lambda ns: ns.Audio(b"abc", sampling_rate=8000),
    lambda ns: ns.Audio("data:audio/wav;base64,x", audio_format="mp3"),
    lambda ns: ns.Audio({"data": "x", "audio_format": "wav"}, audio_format="mp3"),
    lambda ns: ns.Audio(ns.Audio(b"a"), audio_format="mp3"),
    lambda ns: ns.Audio(b"a", b"b"),
    lambda ns: ns.Audio(b"a", data="x"),
    lambda ns: ns.Audio(b"a", other=1),
    lambda ns: ns.Audio(3),
    lambda ns: ns.Audio(),
    lambda ns: ns.Audio.from_url("file:///x"),
    lambda ns: ns.Audio.from_path("/no/such.wav"),
    lambda ns: ns.Audio.from_file("/no/such.wav"),
    lambda ns: TypeAdapter(ns.Audio).validate_python(b"abc"),
    lambda ns: TypeAdapter(ns.Audio).validate_python("data:audio/wav;base64,YWJj"),
    lambda ns: TypeAdapter(ns.Audio).validate_python(3),
]

FILES: list[Any] = [
    lambda ns: ns.File(b"%PDF"),
    lambda ns: ns.File(b"%PDF", filename="a.pdf"),
    lambda ns: ns.File(PNG),
    lambda ns: ns.File("a.pdf"),
    lambda ns: ns.File({"file_id": "x"}),
    lambda ns: ns.File({"file_id": "x"}, file_id="y"),
    lambda ns: ns.File({}),
    lambda ns: ns.File({"other": 1}),
    lambda ns: ns.File(file_data="raw data"),
    lambda ns: ns.File(file_data="data:text/plain,hello"),
    lambda ns: ns.File(file_data=PNG, file_id="i", filename="n"),
    lambda ns: ns.File(filename="only a name"),
    lambda ns: ns.File(),
    lambda ns: ns.File(3),
    lambda ns: ns.File(ns.File(b"x")),
    lambda ns: ns.File(b"a", b"b"),
    lambda ns: ns.File(file_id="x", extra=1),
    lambda ns: ns.File.from_bytes(b"x", "n.txt", "text/plain"),
    lambda ns: ns.File.from_file_id("id", "n"),
    lambda ns: ns.File.from_path("/no/such"),
    lambda ns: TypeAdapter(ns.File).validate_python(b"x"),
    lambda ns: TypeAdapter(ns.File).validate_python({"file_data": PNG}),
    lambda ns: TypeAdapter(ns.File).validate_python({"x": 1}),
    lambda ns: TypeAdapter(ns.File).validate_python(3),
]

CODE: list[Any] = [
    lambda ns: ns.Code(code="x = 1"),
    lambda ns: ns.Code(code="```python\nx = 1\n```"),
    lambda ns: ns.Code(code="before ```\nx\n``` after ```y```"),
    lambda ns: ns.Code(code="```one line```"),
    lambda ns: ns.Code(code="```python\nunclosed"),
    lambda ns: ns.Code(code=3),
    lambda ns: ns.Code(),
    lambda ns: ns.Code("x"),
    lambda ns: ns.Code["Java"](code="int x;"),
    lambda ns: ns.Code["Java"].description(),
    lambda ns: ns.Code["c++"].language,
    lambda ns: ns.Code.language,
    lambda ns: issubclass(ns.Code["java"], ns.Code),
    lambda ns: TypeAdapter(ns.Code["java"]).validate_python("x"),
    lambda ns: TypeAdapter(ns.Code).validate_python({"code": "x", "more": 1}),
    lambda ns: TypeAdapter(ns.Code).validate_python({"x": 1}),
    lambda ns: TypeAdapter(ns.Code).validate_python([1]),
    lambda ns: ns.Code.description(),
]

R = "Some Reasoning"
REASONING: list[Any] = [
    lambda ns: ns.Reasoning(content=R),
    lambda ns: ns.Reasoning(content=3),
    lambda ns: ns.Reasoning(),
    lambda ns: TypeAdapter(ns.Reasoning).validate_python(R),
    lambda ns: TypeAdapter(ns.Reasoning).validate_python({"x": 1}),
    lambda ns: TypeAdapter(ns.Reasoning).validate_python(None),
    lambda ns: [ns.Reasoning(content=R) == R, ns.Reasoning(content=R) != R, ns.Reasoning(content=R) == 3],
    lambda ns: [ns.Reasoning(content=R) == ns.Reasoning(content=R), ns.Reasoning(content=R) == "x"],
    lambda ns: [len(ns.Reasoning(content=R)), "Some" in ns.Reasoning(content=R), ns.Reasoning(content=R)[1:3]],
    lambda ns: list(ns.Reasoning(content="ab")),
    lambda ns: [ns.Reasoning(content=R) + "x", "x" + ns.Reasoning(content=R)],
    lambda ns: ns.Reasoning(content=R) + ns.Reasoning(content="!"),
    lambda ns: ns.Reasoning(content=R) + 3,
    lambda ns: 3 + ns.Reasoning(content=R),
    lambda ns: [ns.Reasoning(content=R).upper(), ns.Reasoning(content=R).split(), ns.Reasoning(content=R).strip("S")],
    lambda ns: ns.Reasoning(content=R).no_such_method,
    lambda ns: f"{ns.Reasoning(content=R)}|{ns.Reasoning(content=R)!r}",
    lambda ns: hash(ns.Reasoning(content=R)),
    lambda ns: ns.Reasoning.parse_lm_response({"reasoning_content": "x"}),
    lambda ns: ns.Reasoning.parse_lm_response({"text": "x"}),
    lambda ns: ns.Reasoning.parse_lm_response("x"),
    lambda ns: ns.Reasoning.is_streamable(),
    lambda ns: ns.Reasoning.parse_stream_chunk(_chunk(reasoning_content="x")),
    lambda ns: ns.Reasoning.parse_stream_chunk(_chunk()),
    lambda ns: ns.Reasoning.parse_stream_chunk(3),
]

CITATIONS: list[Any] = [
    lambda ns: ns.Citations.from_dict_list([CITED, {**CITED, "document_title": "T", "supported_text": "s"}]),
    lambda ns: ns.Citations.from_dict_list([{"cited_text": "x"}]),
    lambda ns: ns.Citations(citations=[CITED]),
    lambda ns: ns.Citations(citations=[ns.Citations.Citation(**CITED)]),
    lambda ns: ns.Citations(),
    lambda ns: TypeAdapter(ns.Citations).validate_python([CITED]),
    lambda ns: TypeAdapter(ns.Citations).validate_python([]),
    lambda ns: TypeAdapter(ns.Citations).validate_python(CITED),
    lambda ns: TypeAdapter(ns.Citations).validate_python({"citations": "x"}),
    lambda ns: TypeAdapter(ns.Citations).validate_python([{"x": 1}]),
    lambda ns: TypeAdapter(ns.Citations).validate_python("x"),
    lambda ns: [len(ns.Citations(citations=[CITED])), ns.Citations(citations=[CITED])[0].format()],
    lambda ns: [each.cited_text for each in ns.Citations(citations=[CITED])],
    lambda ns: ns.Citations.description(),
    lambda ns: ns.Citations.parse_lm_response({"citations": [CITED]}),
    lambda ns: ns.Citations.parse_lm_response({"citations": 3}),
    lambda ns: ns.Citations.parse_lm_response("citations"),
    lambda ns: ns.Citations.is_streamable(),
    lambda ns: ns.Citations.parse_stream_chunk(_chunk(provider_specific_fields={"citation": CITED})),
    lambda ns: ns.Citations.parse_stream_chunk(_chunk(provider_specific_fields={"citation": {"x": 1}})),
    lambda ns: ns.Citations.parse_stream_chunk(_chunk(provider_specific_fields={})),
    lambda ns: ns.Citations.parse_stream_chunk(_chunk()),
    lambda ns: ns.Citations.parse_stream_chunk(None),
    lambda ns: ns.Document(data="x"),
    lambda ns: ns.Document(data="x", title="T", context="c", media_type="application/pdf"),
    lambda ns: ns.Document(data="x", media_type="text/html"),
    lambda ns: ns.Document(),
    lambda ns: ns.Document("x"),
    lambda ns: TypeAdapter(ns.Document).validate_python("text"),
    lambda ns: TypeAdapter(ns.Document).validate_python({"data": "x", "other": 1}),
    lambda ns: TypeAdapter(ns.Document).validate_python(3),
    lambda ns: ns.Document.description(),
]

CALLS: list[Any] = [
    lambda ns: ns.ToolCalls.from_dict_list([CALL, {"name": "x", "arguments": '{"a": 1'}]),
    lambda ns: ns.ToolCalls.from_dict_list([{"id": "1", "function": {"name": "f", "arguments": '{"a": [1]}'}}]),
    lambda ns: ns.ToolCalls.from_dict_list([{"call_id": "2", "name": "f", "args": None}]),
    lambda ns: ns.ToolCalls.from_dict_list([{"function": 3}]),
    lambda ns: ns.ToolCalls.from_dict_list([3]),
    lambda ns: ns.ToolCalls.from_dict_list([{"args": {}}]),
    lambda ns: ns.ToolCalls.from_dict_list([]),
    lambda ns: ns.ToolCalls(tool_calls=[CALL]),
    lambda ns: ns.ToolCalls(tool_calls=[ns.ToolCalls.ToolCall(**CALL)]),
    lambda ns: ns.ToolCalls(tool_calls="x"),
    lambda ns: ns.ToolCalls(),
    lambda ns: ns.ToolCalls(tool_calls=[CALL], tool_call_results=[1, {"a": 2}]),
    lambda ns: TypeAdapter(ns.ToolCalls).validate_python([CALL]),
    lambda ns: TypeAdapter(ns.ToolCalls).validate_python(CALL),
    lambda ns: TypeAdapter(ns.ToolCalls).validate_python([{"x": 1}]),
    lambda ns: TypeAdapter(ns.ToolCalls).validate_python("x"),
    lambda ns: ns.ToolCalls.description(),
    lambda ns: ns.ToolCalls.ToolCall(name="x", args={"a": 1}, id="7"),
    lambda ns: ns.ToolCalls.ToolCall(name="x"),
    lambda ns: ns.ToolCallResults.from_tool_calls_and_values(ns.ToolCalls.from_dict_list([CALL]), ["v"]),
    lambda ns: ns.ToolCallResults.from_tool_calls_and_values(ns.ToolCalls.from_dict_list([CALL]).tool_calls, [1], [True]),
    lambda ns: ns.ToolCallResults.from_tool_calls_and_values(ns.ToolCalls.from_dict_list([CALL]), []),
    lambda ns: ns.ToolCallResults.from_tool_calls_and_values(ns.ToolCalls.from_dict_list([CALL]), [1], []),
    lambda ns: ns.ToolCallResults.model_validate([{"name": "x", "value": 1}]),
    lambda ns: ns.ToolCallResults.model_validate({"name": "x", "value": 1}),
    lambda ns: ns.ToolCallResults.model_validate({"name": "x"}),
    lambda ns: ns.ToolCallResults.model_validate(3),
]

BASE: list[Any] = [
    lambda ns: [t.__name__ for t in ns.Type.extract_custom_type_from_annotation(dict[str, list[ns.Image | None]])],
    lambda ns: ns.Type.extract_custom_type_from_annotation(list[int]),
    lambda ns: ns.Type.extract_custom_type_from_annotation(Literal["a"]),
    lambda ns: [t.__name__ for t in ns.Type.extract_custom_type_from_annotation(tuple[ns.Tool, ns.Code["c"]])],  # noqa: F821
    lambda ns: [t.__name__ for t in ns.Image.extract_custom_type_from_annotation(list[ns.Image | ns.File])],
    lambda ns: ns.Type().format(),
    lambda ns: [ns.Type.description(), ns.Type.is_streamable(), ns.Type.parse_stream_chunk(1)],
    lambda ns: ns.Type.parse_lm_response("x"),
    lambda ns: ns.Type.adapt_to_native_lm_feature("signature", "f", None, {}),
    lambda ns: json.dumps(TypeAdapter(ns.ToolCalls).json_schema()),
    lambda ns: json.dumps(TypeAdapter(dict[str, ns.ToolCallResults]).json_schema()),
    lambda ns: ns.History(messages=[{"a": 1}]),
    lambda ns: ns.History(),
    lambda ns: ns.History(messages=[1]),
    lambda ns: ns.History(messages=[], other=1),
    lambda ns: setattr(ns.History(messages=[]), "messages", [1]),
    lambda ns: ns.History(messages=[{"a": 1}]) == ns.History(messages=[{"a": 1}]),
]


def _chunk(**delta: Any) -> Any:
    return SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(**delta))])


GROUPS = {"image": IMAGES, "audio": AUDIO, "file": FILES, "code": CODE, "reasoning": REASONING}
GROUPS |= {"citations": CITATIONS, "calls": CALLS, "base": BASE}
EACH = [pytest.param(make, id=f"{name}-{i}") for name, group in GROUPS.items() for i, make in enumerate(group)]


@pytest.mark.parametrize("make", EACH)
def test_a_value_is_made_refused_and_shown_as_dspy_does(make: Any, ours: SimpleNamespace, theirs: SimpleNamespace) -> None:
    assert seen(make, ours) == seen(make, theirs)


@pytest.mark.parametrize("kind", ["Image", "Audio", "File"])
@pytest.mark.parametrize("name", ["a.png", "b.wav", "c.mp3", "d.pdf", "e.unknown", "f"])
def test_files_are_read_as_dspy_reads_them(
    kind: str, name: str, ours: SimpleNamespace, theirs: SimpleNamespace, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(b"some bytes\x00\xff")

    def made(ns: SimpleNamespace) -> Any:
        return getattr(ns, kind).from_path(str(path))

    assert seen(made, ours) == seen(made, theirs)


def test_a_file_takes_the_name_and_kind_it_is_given(ours: SimpleNamespace, theirs: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"x")

    def made(ns: SimpleNamespace) -> Any:
        return ns.File.from_path(str(path), filename="b.txt", mime_type="text/plain")

    assert seen(made, ours) == seen(made, theirs)
