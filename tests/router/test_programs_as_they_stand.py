"""Programs that say `import dspy`, and saved states, on both engines."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dspex.engine as engine
import dspy
import pytest
import shopfront
import shopfront.models
from dspex.legacy import LMSettings, PoolOptions, SignatureProgram
from dspex.router import BadProgram, Dspex, ProgramSpec
from dspex.router.native_copies import native_copy
from openai_server import OpenAIServer

HERE = Path(__file__).parent
SIGNATURE = "question -> answer"


def test_the_copy_has_our_engine_and_nothing_of_the_process_is_touched() -> None:
    real = sys.modules["dspy"]
    copy: Any = native_copy("shopfront.answers")
    assert sys.modules["dspy"] is real is dspy
    assert "shopfront.answers" not in sys.modules
    assert isinstance(copy.build(), engine.Module)
    assert copy.late()[0] is copy.beside_shopfront.predict() is engine.Predict
    assert copy.prompts.SAME
    assert native_copy("shopfront.answers") is copy

    import shopfront.answers as original  # pyright: ignore[reportMissingTypeStubs]

    assert isinstance(original.build(), dspy.Module)
    assert original.late()[0] is original.beside_shopfront.predict() is dspy.Predict
    assert original.prompts is not copy.prompts


def test_what_does_not_need_dspy_is_shared_with_the_process() -> None:
    copy: Any = native_copy("shopfront.answers")
    shared = shopfront.models
    assert copy.models is copy.relative is copy.by_path is copy.late()[1] is shared
    assert copy.prompts.Mood is shared.Mood
    assert copy.Receipt is shopfront.Receipt
    assert copy.EXECUTED is shopfront.EXECUTED
    assert copy.shopfront.prompts is copy.prompts
    assert copy.HERE == "answers.py"


def test_without_dspy_in_the_process_none_is_loaded() -> None:
    code = (
        "import sys; from dspex.router import ProgramSpec\n"
        "made = ProgramSpec.of_module('qa', 'shopfront.answers:build').native()\n"
        "assert type(made).__mro__[1].__module__.startswith('dspex.engine'), type(made).__mro__\n"
        "assert 'dspy' not in sys.modules and 'shopfront.prompts' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(HERE)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_threads_that_ask_at_once_get_one_copy_each_module_run_once() -> None:
    for name in [name for name in sys.modules if name.startswith("_dspex_native.")]:
        del sys.modules[name]
    found: list[Any] = []
    gate = threading.Barrier(8)

    def ask() -> None:
        gate.wait()
        found.append(native_copy("shopfront.answers"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(each.prompts.Ask) for each in found}) == 1


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("shopfront.nowhere:build", "No module named 'shopfront.nowhere'"),
        ("shopfront.answers:absent", "has no attribute 'absent'"),
        ("shopfront.answers:number", "is a int: name a program"),
        ("shopfront.answers:late", "gave a tuple"),
        ("shopfront.answers:breaks", "LookupError: no shop today"),
        ("shopfront.wants_more:build", "there is no litellm"),
        ("shopfront.answers", "write 'package.module:name'"),
    ],
)
def test_a_module_that_cannot_be_run_natively_is_refused_with_the_reason(path: str, says: str) -> None:
    with pytest.raises(BadProgram, match=says):
        ProgramSpec.of_module("qa", path)


@pytest.mark.anyio
async def test_one_module_answers_alike_on_both_engines() -> None:
    server = OpenAIServer()
    try:
        lm = LMSettings("openai/tiny", api_base=server.url, api_key="k", cache=False, options={"num_retries": 0})
        pool = PoolOptions({"x": SignatureProgram(SIGNATURE)}, workers=1, import_paths=(str(HERE),))
        specs = [ProgramSpec.of_module(name, f"shopfront.answers:{name}") for name in ("build", "ready")]
        async with Dspex(specs, lm=lm, pool=pool) as app:
            answers = [
                await app.call(name, question="Why?", engine=chosen)
                for name in ("build", "ready")
                for chosen in ("native", "legacy")
            ]
        assert [answer["answer"] for answer in answers] == ["answer to Why?"] * 4
        assert answers[0]["mood"] is shopfront.models.Mood.GOOD, "a class that the caller knows"
        assert answers[1]["mood"] == "good", "as it comes from a worker"
        assert len({json.dumps(body["messages"]) for body in server.bodies}) == 1, "prompts are the same to the byte"
    finally:
        server.close()


# --- saved states ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """Saved by the real dspy, with a demo and instructions of its own."""
    program = dspy.ChainOfThought(SIGNATURE)
    program.predict.signature = program.predict.signature.with_instructions("Answer as a pirate.")
    program.predict.demos = [dspy.Example(question="Aye?", reasoning="It is.", answer="Aye.")]
    path = tmp_path / "tuned.json"
    program.save(str(path))
    return path


@pytest.mark.anyio
async def test_a_saved_state_answers_alike_on_both_engines(tuned: Path) -> None:
    server = OpenAIServer()
    try:
        lm = LMSettings("openai/tiny", api_base=server.url, api_key="k", cache=False, options={"num_retries": 0})
        spec = ProgramSpec.of_saved("qa", tuned, signature=SIGNATURE, module="ChainOfThought")
        async with Dspex([spec], lm=lm, workers=1) as app:
            answers = [await app.call("qa", question="Why?", engine=chosen) for chosen in ("native", "legacy")]
        assert [answer["answer"] for answer in answers] == ["answer to Why?"] * 2
        assert server.bodies[0]["messages"] == server.bodies[1]["messages"]
        assert "pirate" in json.dumps(server.bodies[0]["messages"])
        assert "Aye." in json.dumps(server.bodies[0]["messages"])
    finally:
        server.close()


def test_a_saved_state_goes_into_a_factory_s_or_a_module_s_program_too(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    made: Any = native_copy("shopfront.answers").build()
    made.ask.demos = [engine.Example(question="a", answer="b", mood="good")]
    made.save(str(path))
    loaded: Any = ProgramSpec.of_saved("qa", path, imported="shopfront.answers:build").native
    assert loaded().ask.demos[0]["answer"] == "b"
    lone = tmp_path / "lone.json"
    engine.Predict(SIGNATURE).save(str(lone))
    assert ProgramSpec.of_saved("qa", lone, signature=SIGNATURE).native is not None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"signature": "question -> answer"}, "the program has 'self'|no signature"),
        ({"signature": "question -> reply", "module": "ChainOfThought"}, "a field 'answer' where the program has 'reply'"),
        ({"signature": "a, b -> answer", "module": "ChainOfThought"}, "3 fields, and the program 4"),
        ({"factory": "written_once:two_steps"}, "nothing for the predictor 'ask'.*a predictor 'predict'"),
        ({"signature": SIGNATURE, "module": "Predictor"}, "module= is one of Predict, ChainOfThought"),
        ({"signature": SIGNATURE, "factory": "written_once:qa"}, "needs one of"),
        ({}, "needs one of"),
    ],
)
def test_a_state_of_another_program_is_refused_with_all_that_does_not_fit(
    tuned: Path, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadProgram, match=says):
        ProgramSpec.of_saved("qa", tuned, **given)


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadProgram, match="No such file"):
        ProgramSpec.of_saved("qa", tmp_path / "absent.json", signature=SIGNATURE)
    with pytest.raises(BadProgram, match="nothing is unpickled"):
        ProgramSpec.of_saved("qa", tmp_path, signature=SIGNATURE)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(BadProgram, match="is no JSON"):
        ProgramSpec.of_saved("qa", tmp_path / "bad.json", signature=SIGNATURE)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(BadProgram, match="holds a list"):
        ProgramSpec.of_saved("qa", tmp_path / "list.json", signature=SIGNATURE)
    with pytest.raises(BadProgram, match="lone predictor"):
        ProgramSpec.of_signature(
            "qa", SIGNATURE, module="ChainOfThought", state=engine.Predict(SIGNATURE).dump_state()
        )
