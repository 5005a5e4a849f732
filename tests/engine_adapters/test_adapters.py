"""Adapters on their own: plans, demos that change, fallback and its counts, hooks of subclasses, hostile answers."""

import gc
import json
import time
import weakref
from typing import Any

import pytest
from adapter_corpus import Person
from dspex.engine.adapters import (
    AdapterParseError,
    ChatAdapter,
    Fallback,
    JSONAdapter,
)
from dspex.engine.signatures import InputField, OutputField, Signature
from scripted_model import ScriptedModel

TYPED = "question, context: list[str] -> answer: str, score: float"


GOOD_CHAT = "[[ ## answer ## ]]\nParis\n\n[[ ## score ## ]]\n0.9\n\n[[ ## completed ## ]]"
GOOD_JSON = '{"answer": "Paris", "score": 0.9}'


@pytest.mark.anyio
async def test_one_call_formats_asks_and_reads() -> None:
    lm, adapter = ScriptedModel(GOOD_CHAT), ChatAdapter()
    options = {"temperature": 0.5, "tools": []}
    sig, inputs = Signature(TYPED), {"question": "?", "context": []}
    assert await adapter.acall(lm, options, sig, [], inputs) == [{"answer": "Paris", "score": 0.9}]
    assert lm.asked == [{"messages": adapter.format(sig, [], inputs), "temperature": 0.5}]
    assert options == {"temperature": 0.5, "tools": []}
    assert adapter.statistics().calls == 1
    assert adapter.statistics().fallbacks == 0


@pytest.mark.anyio
async def test_an_answer_that_is_no_chat_is_asked_for_as_json_and_the_second_call_is_counted_and_told() -> None:
    told: list[Fallback] = []
    adapter = ChatAdapter(on_fallback=told.append)
    lm, sig = ScriptedModel("I think Paris.", GOOD_JSON), Signature(TYPED)
    options: dict[str, Any] = {}
    assert await adapter.acall(lm, options, sig, [], {"question": "?"}) == [{"answer": "Paris", "score": 0.9}]
    assert len(lm.asked) == 2
    assert "response_format" not in lm.asked[0]
    assert lm.asked[1]["response_format"].model_json_schema()["additionalProperties"] is False
    assert "Respond with a JSON object" in lm.asked[1]["messages"][-1]["content"]
    assert options == {}
    counts = adapter.statistics()
    assert (counts.calls, counts.parse_failures, counts.fallbacks, counts.fallback_failures) == (1, 1, 1, 0)
    assert [(event.model, event.signature, event.error.lm_response) for event in told] == [
        ("scripted/one", sig, "I think Paris.")
    ]


@pytest.mark.anyio
async def test_when_the_fallback_fails_too_its_error_is_raised_and_the_first_is_its_context() -> None:
    adapter = ChatAdapter()
    with pytest.raises(AdapterParseError, match="Adapter JSONAdapter failed") as caught:
        await adapter.acall(ScriptedModel("no", "neither"), {}, Signature(TYPED), [], {})
    assert isinstance(caught.value.__context__, AdapterParseError)
    assert caught.value.__context__.adapter_name == "ChatAdapter"
    assert adapter.statistics().fallback_failures == 1


@pytest.mark.anyio
async def test_the_fallback_can_be_turned_off_and_follows_no_other_error() -> None:
    lm = ScriptedModel("no")
    with pytest.raises(AdapterParseError, match="Adapter ChatAdapter failed"):
        await ChatAdapter(use_json_adapter_fallback=False).acall(lm, {}, Signature(TYPED), [], {})
    assert len(lm.asked) == 1
    lm = ScriptedModel(ConnectionError("down"), GOOD_JSON)
    with pytest.raises(ConnectionError):
        await ChatAdapter().acall(lm, {}, Signature(TYPED), [], {})
    assert len(lm.asked) == 1


@pytest.mark.anyio
async def test_an_empty_answer_is_a_parse_error_and_log_probabilities_are_kept() -> None:
    adapter, sig = JSONAdapter(), Signature(TYPED)
    for empty in ("", {"text": None}, {"text": "", "tool_calls": [1]}):
        with pytest.raises(AdapterParseError, match="empty or null response"):
            await adapter.acall(ScriptedModel(empty), {}, sig, [], {})
    [outputs] = await adapter.acall(ScriptedModel({"text": GOOD_JSON, "logprobs": [1]}), {}, sig, [], {})
    assert outputs == {"answer": "Paris", "score": 0.9, "logprobs": [1]}


def test_changed_demos_are_shown_as_they_are_now() -> None:
    adapter, sig = (
        ChatAdapter(),
        Signature(
            "question, tags: list[str] -> answer: dict[str, list[int]], who: Person", custom_types={"Person": Person}
        ),
    )
    person = Person(name="Ada")
    demos: list[dict[str, Any]] = [
        {"question": "one", "tags": ["a", "b"], "answer": {"x": [1]}, "who": {"name": "Bob"}},
        {"question": "two", "tags": [], "answer": {}, "who": person},
    ]

    def shown() -> list[dict[str, Any]]:
        from_plan = adapter.format_demos(sig, demos)
        again = adapter.format_demos(sig, demos)
        fresh = ChatAdapter().format_demos(sig.with_instructions("another signature, so another plan"), demos)
        assert from_plan == again == fresh
        return from_plan

    seen = [shown()]
    changes: list[Any] = [
        lambda: demos[0].__setitem__("question", "uno"),
        lambda: demos[0]["tags"].append("c"),
        lambda: demos[0]["tags"].__setitem__(0, "A"),
        lambda: demos[0]["answer"]["x"].append(2),
        lambda: demos[0]["answer"].__setitem__("y", []),
        lambda: demos[0]["who"].__setitem__("name", "Bobby"),
        lambda: setattr(person, "name", "Ada L."),
        lambda: demos.reverse(),
        lambda: demos[0].pop("tags"),
        lambda: demos[0].__setitem__("tags", None),
        lambda: demos[1].__setitem__("answer", {"x": [True]}),
        lambda: demos[1].__setitem__("answer", {"x": [1]}),
        lambda: demos[1].__setitem__("answer", {"x": [1.0]}),
        lambda: demos.append({"question": "three", "answer": {}}),
        lambda: demos.clear(),
    ]
    for change in changes:
        change()
        now = shown()
        assert now != seen[-1]
        seen.append(now)


def test_the_messages_belong_to_the_caller() -> None:
    adapter, sig = ChatAdapter(), Signature("q -> a")
    demos = [{"q": "1", "a": "2"}]
    first = adapter.format(sig, demos, {"q": "x"})
    for message in first:
        message["content"] = "spoilt"
        message["extra"] = True
    assert adapter.format(sig, demos, {"q": "x"}) == ChatAdapter().format(Signature("q -> a"), demos, {"q": "x"})


def test_the_demos_that_are_remembered_are_bounded() -> None:
    adapter, sig = ChatAdapter(), Signature("q -> a")
    for start in range(0, 3000, 100):
        adapter.format_demos(sig, [{"q": str(n), "a": "x"} for n in range(start, start + 100)])
    assert len(adapter._plan(sig).demos) <= 1024


def test_a_plan_goes_with_its_signature() -> None:
    adapter = ChatAdapter()
    sig = Signature("q -> a: float")
    adapter.format(sig, [{"q": "1", "a": 2.0}], {"q": "x"})
    adapter.parse(sig, "[[ ## a ## ]] 1")
    plan, alive = weakref.ref(sig), len(ChatAdapter._plans)
    del sig
    gc.collect()
    assert plan() is None
    assert len(ChatAdapter._plans) < alive


@pytest.mark.parametrize("adapter", [ChatAdapter(), JSONAdapter()], ids=["chat", "json"])
def test_a_signature_edited_in_place_is_asked_as_it_is_now(adapter: ChatAdapter | JSONAdapter) -> None:
    sig = Signature("q -> a")
    adapter.format(sig, [], {"q": "x"})
    sig.fields["q"].json_schema_extra["desc"] = "a new description"
    sig.fields["a"].annotation = int
    sig.instructions = "New instructions."
    messages = adapter.format(sig, [], {"q": "x"})
    assert "a new description" in messages[0]["content"]
    assert "New instructions." in messages[0]["content"]
    assert "valid Python int" in messages[1]["content"]
    answer = '{"a": "3"}' if isinstance(adapter, JSONAdapter) else "[[ ## a ## ]] 3"
    assert adapter.parse(sig, answer) == {"a": 3}


def test_every_hook_of_a_subclass_is_honoured_at_every_call() -> None:
    class Shouting(ChatAdapter):
        calls = 0

        def format_task_description(self, signature: Any) -> str:
            self.calls += 1
            return f"TASK {self.calls}"

        def user_message_output_requirements(self, signature: Any) -> str:
            self.calls += 1
            return f"ANSWER {self.calls}"

        def format_assistant_message_content(
            self, signature: Any, outputs: Any, missing_field_message: str | None = None
        ) -> str:
            self.calls += 1
            return f"REPLY {self.calls}"

    adapter, sig = Shouting(), Signature("q -> a")
    first = adapter.format(sig, [{"q": "1", "a": "2"}], {"q": "x"})
    second = adapter.format(sig, [{"q": "1", "a": "2"}], {"q": "x"})
    assert [first[0]["content"].splitlines()[-1], first[2]["content"], first[3]["content"].splitlines()[-1]] == [
        "TASK 1",
        "REPLY 2",
        "ANSWER 3",
    ]
    assert [second[0]["content"].splitlines()[-1], second[2]["content"], second[3]["content"].splitlines()[-1]] == [
        "TASK 4",
        "REPLY 5",
        "ANSWER 6",
    ]

    class Quiet(JSONAdapter):
        def format_system_message(self, signature: Any) -> str:
            return "quiet"

    assert Quiet().format(sig, [], {})[0]["content"] == "quiet"
    assert JSONAdapter().format(sig, [], {})[0]["content"] != "quiet"


def test_the_parse_error_carries_what_was_asked_and_what_came() -> None:
    sig = Signature(TYPED)
    with pytest.raises(AdapterParseError) as caught:
        ChatAdapter().parse(sig, "[[ ## answer ## ]]\nParis")
    error = caught.value
    assert (error.adapter_name, error.signature, error.lm_response) == ("ChatAdapter", sig, "[[ ## answer ## ]]\nParis")
    assert error.parsed_result == {"answer": "Paris"}
    with pytest.raises(AdapterParseError, match="Failed to parse field score with value high") as caught:
        ChatAdapter().parse(sig, "[[ ## answer ## ]]\nParis\n[[ ## score ## ]]\nhigh")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("depth", [2_000, 200_000])
def test_an_answer_nested_beyond_reason_is_a_parse_error(depth: int) -> None:
    sig = Signature("q -> a: list[int]")
    deep = "[" * depth
    for adapter, answer in (
        (ChatAdapter(), f"[[ ## a ## ]]\n{deep}"),
        (ChatAdapter(), f"[[ ## a ## ]]\n{deep}{']' * depth}"),
        (JSONAdapter(), '{"a": ' + deep + "}"),
        (JSONAdapter(), '{"a": ' + deep + "]" * depth + "}"),
        (JSONAdapter(), "{" * depth),
        (JSONAdapter(), "{" * 100 + "x" * depth),
    ):
        began = time.process_time()
        with pytest.raises(AdapterParseError):
            adapter.parse(sig, answer)
        assert time.process_time() - began < 5


def test_an_answer_of_five_megabytes_is_read_in_time() -> None:
    sig = Signature("q -> a, b: int")
    text = "x" * 70 + "\n"
    body = (text * (5_000_000 // len(text))).strip()
    began = time.process_time()
    assert ChatAdapter().parse(sig, f"[[ ## a ## ]]\n{body}\n[[ ## b ## ]]\n3") == {"a": body, "b": 3}
    answer = json.dumps({"a": body, "b": 3})
    assert JSONAdapter().parse(sig, answer) == {"a": body, "b": 3}
    assert JSONAdapter().parse(sig, f"```json\n{answer}\n```") == {"a": body, "b": 3}
    for cut in (answer[:-10], body, "{" + body, f"{{'a': '{body}"):
        with pytest.raises(AdapterParseError):
            JSONAdapter().parse(sig, cut)
    assert time.process_time() - began < 10


def test_optional_outputs_get_fresh_defaults() -> None:
    class Lists(Signature):
        q: str = InputField()
        a: list[int] = OutputField(default_factory=list)

    adapter = ChatAdapter()
    first, second = adapter.parse(Lists, ""), adapter.parse(Lists, "")
    assert first == second == {"a": []}
    assert first["a"] is not second["a"]
