"""Handles: the same answers by another door, with the types that the program was given with."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest
from dspex.engine import InputField, OutputField, Signature
from dspex.legacy import LMSettings
from dspex.router import BadProgram, Dspex, Engine, FieldChunk, ProgramSpec, TypedAnswer, TypedProgram, UnknownProgram
from dspex.router import typed_program as program
from openai_server import OpenAIServer
from pydantic import BaseModel, ValidationError

CASES = Path(__file__).with_name("typing_cases")
ENGINES: list[Engine] = ["native", "legacy"]


class Judged(BaseModel):
    answer: str
    mood: Literal["good", "bad"]


class AsDict(TypedDict):
    answer: str


@dataclass
class AsData:
    answer: str


class Ask(Signature):
    """Answer in a word."""

    question: str = InputField(desc="what is asked")
    answer: str = OutputField(desc="one word")


class Inner(BaseModel):
    x: int


@program(module="ChainOfThought", idempotent=True)
def judged(question: str, tone: str = "dry") -> Judged:
    """Answer, and tell the mood."""
    ...


@program()
def as_dict(question: str) -> AsDict:
    """Answer."""
    ...


@program()
def as_data(question: str) -> AsData:
    """Answer."""
    ...


@program("short")
def as_text(question: str) -> str:
    """Answer."""
    ...


@program("count")
def as_number(question: str) -> int:
    """Answer."""
    ...


asked = TypedProgram.of_class("asked", Ask, module="ChainOfThought")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


def opened(server: OpenAIServer, *programs: Any, **options: Any) -> Dspex:
    lm = LMSettings("openai/tiny", api_base=server.url, api_key="k", cache=False, options={"num_retries": 0})
    return Dspex(programs, lm=lm, workers=1, **options)


@pytest.mark.anyio
async def test_typed_programs_are_told_alike_to_both_engines_and_answer_in_their_types(server: OpenAIServer) -> None:
    programs = (judged, as_dict, as_data, as_text, asked)
    async with opened(server, *programs) as app:
        for engine in ENGINES:
            answer = await app.program(judged).options(engine=engine).call("Why?")
            assert answer.output == Judged(answer="answer to Why?", mood="good")
            assert (answer.route.engine, answer["answer"]) == (engine, "answer to Why?")
            assert answer.prediction["reasoning"]
            assert (await app.program(as_dict).options(engine=engine).call("Why?")).output == {
                "answer": "answer to Why?"
            }
            assert (await app.program(as_data).options(engine=engine).call("Why?")).output == AsData("answer to Why?")
            assert (await app.program(as_text).options(engine=engine).call(question="Why?")).output == "answer to Why?"
            assert (await app.program(asked).options(engine=engine).call(question="Why?")).output.answer
    sent = [json.dumps(body["messages"]) for body in server.bodies]
    assert sent[:5] == sent[5:], "prompts are the same to the byte"
    assert "Answer, and tell the mood." in sent[0]
    assert "dry" in sent[0]
    assert "one word" in sent[4]


@pytest.mark.anyio
async def test_a_handle_asks_streams_and_maps_as_the_app_does(server: OpenAIServer) -> None:
    plain = ProgramSpec.of_signature("plain", "question -> answer")
    async with opened(server, plain, judged) as app:
        handle = app.program("plain")
        assert (await handle.call(question="Why?", engine="native"))["answer"] == "answer to Why?"
        assert (await handle.call({"question": "Why?"}))["answer"] == "answer to Why?"
        answers = [answer["answer"] async for answer in handle.map([{"question": "a"}, {"question": "b"}])]
        assert answers == ["answer to a", "answer to b"]
        outputs = [each.output.answer async for each in app.program(judged).map([{"question": "a", "tone": "wet"}])]
        assert outputs == ["answer to a"]
        with pytest.raises(TypeError, match="missing a required argument: 'question'"):
            await app.program(judged).call()  # type: ignore[call-arg]
        with pytest.raises(UnknownProgram, match="there are: judged, plain"):
            app.program("other")
        with pytest.raises(UnknownProgram):
            app.program(as_text)
        assert repr(handle) == "<program 'plain'>"


@pytest.mark.anyio
async def test_an_answer_of_another_type_is_an_error_and_not_a_guess(server: OpenAIServer) -> None:
    async with opened(server, asked, as_number) as app:
        with pytest.raises(Exception, match="answer"):
            await app.program(as_number).call("Why?")
        with pytest.raises(TypeError, match="by name: question"):
            await app.program(asked).call(query="Why?")
    with pytest.raises(ValidationError):
        judged.output_of(app_prediction(answer="x", mood="odd"))


def app_prediction(**fields: object) -> Any:
    from dspex.engine import Prediction

    return Prediction(**fields)


@pytest.mark.anyio
async def test_the_last_item_of_a_typed_stream_is_the_typed_answer() -> None:
    from scripted_server import END, STREAM, chat_chunk, event, scripted_server

    async def script(body: dict[str, Any]) -> Any:
        yield STREAM
        for part in ("[[ ## answer ## ]]\n", "To", " be", "\n\n[[ ## completed ## ]]"):
            yield chat_chunk(part)
        yield chat_chunk(finish="stop")
        yield event("[DONE]")
        yield END

    async with scripted_server(script) as server:
        lm = LMSettings("openai/tiny", api_base=server.url, api_key="k", cache=False)
        native = TypedProgram.of_class("native", Ask, legacy=False)
        async with Dspex([native], lm=lm) as app, app.program(native).stream(question="?") as stream:
            *pieces, last = [item async for item in stream]
    assert "".join(piece.text for piece in pieces if isinstance(piece, FieldChunk)) == "To be"
    assert isinstance(last, TypedAnswer)
    assert last.output.answer == "To be"


def test_what_cannot_be_said_is_refused_where_it_is_written() -> None:
    class Odd(Signature):
        """Odd."""

        question: str = InputField()
        answer: Inner = OutputField()

    class Bounded(Signature):
        """Bounded."""

        question: str = InputField()
        score: int = OutputField(ge=0)

    for signature in (Odd, Bounded):
        with pytest.raises(BadProgram, match="cannot be told of its field"):
            TypedProgram.of_class("odd", signature)
        assert TypedProgram.of_class("odd", signature, legacy=False).spec.legacy is None
    with pytest.raises(BadProgram, match="must be one input, with a type"):
        program()(lambda question: question)  # type: ignore[arg-type]

    def silent(question: str):  # type: ignore[no-untyped-def]
        """No result."""

    def same(answer: str) -> AsDict:
        """One name twice."""
        ...

    with pytest.raises(BadProgram, match="must say what it returns"):
        program()(silent)
    with pytest.raises(BadProgram, match="an input and an output"):
        program()(same)


def test_a_type_checker_knows_inputs_and_outputs(tmp_path: Path) -> None:
    if find_spec("basedpyright") is None:
        pytest.skip("basedpyright is not installed: pip install basedpyright")
    config = {
        "include": [str(CASES)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "reportUnusedExpression": "none",
        "reportUnusedCallResult": "none",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 2, done.stderr
    found: dict[str, set[int]] = {"right_handles.py": set(), "wrong_handles.py": set()}
    for complaint in report["generalDiagnostics"]:
        if complaint["severity"] == "error":
            found[Path(complaint["file"]).name].add(complaint["range"]["start"]["line"] + 1)
    lines = (CASES / "wrong_handles.py").read_text(encoding="utf-8").splitlines()
    refused = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert found == {"right_handles.py": set(), "wrong_handles.py": refused}, report["generalDiagnostics"]
