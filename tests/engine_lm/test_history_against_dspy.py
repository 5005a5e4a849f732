"""History: the same entries, limits and print as dspy's."""

import io
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine.lm import history as ours_of_history


def dummies(dspy: ModuleType, answers: Any, **options: Any) -> list[tuple[Any, Any]]:
    from dspy.utils import DummyLM

    return [(dspy, DummyLM(answers, **options)), (engine, engine.DummyLM(answers, **options))]


def test_entries_have_the_same_keys_and_values(dspy: ModuleType) -> None:
    entries = []
    for library, lm in dummies(dspy, [{"answer": "a"}]):
        with library.context(lm=lm):
            library.Predict("question -> answer")(question="?", config={"temperature": 0.5})
        entries.append(lm.history[-1])
    theirs, ours = entries
    assert list(ours) == [key for key in theirs if key != "cost_details"]
    for key in ("prompt", "messages", "kwargs", "outputs", "usage", "cost", "model", "response_model", "model_type"):
        assert ours[key] == theirs[key], key


def test_it_prints_as_in_dspy(dspy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    other = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    audio = {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}}
    file = {"type": "file", "file": {"filename": "f", "file_id": "i", "file_data": "ab"}}
    call = {"id": "1", "function": {"name": "f", "arguments": '{"a": "é"}'}}
    entries = [
        {"messages": [{"role": "user", "content": " hi "}], "prompt": None, "outputs": ["a", "b"], "timestamp": "now"},
        {
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "t"}, image, other, audio, file]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
            ],
            "prompt": None,
            "outputs": [{"text": "said", "tool_calls": [{"name": "g", "args": {"b": 1}}, {"function": {}}]}],
        },
        {"messages": None, "prompt": "p", "outputs": [{"text": None}], "timestamp": "then"},
    ]
    from dspy.utils.inspect_history import pretty_print_history

    for n in (1, 2, 3):
        texts = []
        for show in (pretty_print_history, ours_of_history.print_history):
            file_like = io.StringIO()
            show(entries, n, file=file_like)
            show(entries, n)
            texts.append((file_like.getvalue(), capsys.readouterr().out))
        assert texts[1] == texts[0]


def test_all_lms_modules_and_the_process_keep_the_call(capsys: pytest.CaptureFixture[str]) -> None:
    lm = engine.DummyLM([{"reasoning": "r", "answer": "a"}])
    program = engine.ChainOfThought("question -> answer")
    with engine.context(lm=lm):
        program(question="?")
    entry = lm.history[-1]
    assert program.history == program.predict.history == [entry]
    assert ours_of_history.GLOBAL_HISTORY[-1] is entry
    for show in (lm.inspect_history, engine.inspect_history, program.inspect_history):
        show(1)
        assert "[[ ## answer ## ]]" in capsys.readouterr().out


def test_limits_hold_as_in_dspy(dspy: ModuleType) -> None:
    for library, lm in dummies(dspy, {"q": {"answer": "a"}}):
        with library.context(lm=lm, max_history_size=2):
            for _ in range(3):
                library.Predict("question -> answer")(question="q")
            assert len(lm.history) == 2
        with library.context(lm=lm, max_history_size=0):
            library.Predict("question -> answer")(question="q")
            assert len(lm.history) == 2
        with library.context(lm=lm, disable_history=True):
            library.Predict("question -> answer")(question="q")
        assert len(lm.history) == 2


def test_the_global_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours_of_history, "MAX_HISTORY_SIZE", 5)
    lm = engine.DummyLM({"q": {"answer": "a"}})
    for _ in range(20):
        lm("q")
    assert len(ours_of_history.GLOBAL_HISTORY) == 5
    assert ours_of_history.GLOBAL_HISTORY[-1] is lm.history[-1]


def test_an_entry_may_be_sent_elsewhere_and_holds_no_credential() -> None:
    class Elsewhere(engine.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            return {"model": "m", "choices": [{"message": {"content": "x"}}], "usage": {}}

        def update_history(self, entry: Any) -> None:
            sent.append(entry)

    sent: list[Any] = []
    lm = Elsewhere("m")
    lm("hi", api_key="sk-secret", api_base="http://x", headers={"authorization": "sk-secret"}, temperature=1)
    assert lm.history == []
    assert sent[0]["kwargs"] == {"temperature": 1}
    assert "sk-secret" not in str(sent)
