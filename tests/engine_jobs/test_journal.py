"""The journal of a job: what it answers, what it refuses, and that it is left as it is when it refuses."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from dspex.engine import BaseLM, DummyLM, Evaluate, Predict, make_signature
from dspex.engine.optimizers import BootstrapFewShotWithRandomSearch, Teleprompter
from dspex.engine.optimizers.jobs import (
    Budget,
    BudgetExhausted,
    JobFailed,
    JournalBusy,
    JournalMismatch,
    JournalUnreadable,
    OptimizerJob,
    TrialPolicy,
    journal_report,
    run_job,
)
from dspex.engine.optimizers.jobs import identity as identities
from dspex.engine.optimizers.trials import together, trial
from dspex.runtime import open_runtime
from stub_model import TRAINSET, Model, right

pytestmark = pytest.mark.anyio


def search(**options: Any) -> BootstrapFewShotWithRandomSearch:
    return BootstrapFewShotWithRandomSearch(**{"metric": right, "num_candidate_programs": 3, "num_threads": 2, **options})


def job(lm: BaseLM, journal: Path, optimizer: Any = None, **options: Any) -> OptimizerJob:
    options.setdefault("trainset", TRAINSET)
    student = options.pop("student", None) or Predict("question -> answer")
    return OptimizerJob(optimizer or search(), student, overrides={"lm": lm}, journal=journal, **options)


class Scripted(Teleprompter):
    """An optimizer that does what a test says."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    async def acompile(self, student: Any, *, trainset: Any) -> Any:
        return await self._work(student)


async def test_a_job_that_ran_out_of_its_budget_goes_on_with_a_larger_one(tmp_path: Path) -> None:
    alone = Model()
    undisturbed = await run_job(job(alone, tmp_path / "undisturbed"))
    asked = 0
    for calls in (5, 17, 30):
        lm = Model()
        with pytest.raises(BudgetExhausted):
            await run_job(job(lm, tmp_path / "j", budget=Budget(calls=calls)))
        asked += len(lm.asked)
        assert asked == calls
    lm = Model()
    resumed = await run_job(job(lm, tmp_path / "j"))
    assert asked + len(lm.asked) == len(alone.asked)
    assert resumed.spent.calls == undisturbed.spent.calls
    assert resumed.spent.tokens == undisturbed.spent.tokens
    assert resumed.answered_by_journal == 30
    assert resumed.program.dump_state() == undisturbed.program.dump_state()
    again = Model()
    finished = await run_job(job(again, tmp_path / "j"))
    assert again.asked == []
    assert finished.program.dump_state() == undisturbed.program.dump_state()


async def test_equal_requests_keep_their_own_answers_whatever_order_they_come_in(tmp_path: Path) -> None:
    """A model that samples: the same prompt in eight examples at a time, and each is given another answer."""
    same = [example.copy(question="question 1").with_inputs("question") for example in TRAINSET]

    async def work(student: Any) -> Any:
        evaluate = Evaluate(devset=same, metric=lambda example, prediction: 1, num_threads=6)

        async def one() -> Any:
            result = await trial(student, lambda: evaluate.acall(student))
            return [prediction.answer for _, prediction, _ in result.results]

        student.answers = await together([one, one])
        return student

    async def slowly(number: int) -> None:
        for _ in range(13 * (number % 5)):  # answers come in another order than requests
            await anyio.lowlevel.checkpoint()

    first = Model(slowly, answer=lambda number, question: f"sample {number}")
    told = (await run_job(job(first, tmp_path / "j", Scripted(work)))).program.answers
    assert len({answer for answers in told for answer in answers}) == 12
    second = Model(answer=lambda number, question: "never asked")
    assert (await run_job(job(second, tmp_path / "j", Scripted(work)))).program.answers == told
    assert second.asked == []


async def test_a_model_that_is_scripted_goes_on_where_it_was(tmp_path: Path) -> None:
    answers = [{"answer": f"answer {number}"} for number in range(12)]

    async def work(student: Any) -> Any:
        student.told = [(await student.acall(question="the same")).answer for _ in range(12)]
        return student

    with pytest.raises(BudgetExhausted):
        await run_job(job(DummyLM(answers), tmp_path / "j", Scripted(work), budget=Budget(calls=7)))
    resumed = await run_job(job(DummyLM(answers[7:]), tmp_path / "j", Scripted(work)))
    assert resumed.program.told == [each["answer"] for each in answers]


async def test_a_model_that_answers_by_its_own_call_is_journaled_too(tmp_path: Path) -> None:
    class Own(BaseLM):
        asked = 0

        def __call__(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            Own.asked += 1
            return [f"[[ ## answer ## ]]\n{Own.asked}\n\n[[ ## completed ## ]]"]

    async def work(student: Any) -> Any:
        student.told = [(await student.acall(question=f"q{n}")).answer for n in range(3)]
        return student

    for _ in range(2):
        outcome = await run_job(job(Own("own"), tmp_path / "j", Scripted(work)))
        assert outcome.program.told == ["1", "2", "3"]
    assert Own.asked == 3


async def test_calls_that_failed_are_made_again(tmp_path: Path) -> None:
    def failing(number: int, question: str) -> str:
        if number > 8:
            raise ConnectionResetError("gone")
        return question.replace("question", "answer")

    first = Model(answer=failing)
    with pytest.raises(JobFailed):
        await run_job(job(first, tmp_path / "j", search(max_errors=2), policy=TrialPolicy(attempts=1)))
    assert journal_report(tmp_path / "j").spent.calls == 8
    second = Model(answer=lambda number, question: question.replace("question", "answer"))
    outcome = await run_job(job(second, tmp_path / "j", search(max_errors=2)))
    assert outcome.answered_by_journal >= 8
    assert outcome.best is not None
    assert outcome.best.score == 100.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimizer": search(num_candidate_programs=9)}, "optimizer parameter 'num_candidate_programs': was 3, is 9"),
        ({"optimizer": search(metric=lambda example, prediction, trace=None: True)}, "parameter 'metric': is another"),
        ({"student": Predict("question -> reply")}, "program: is another"),
        ({"student": Predict(make_signature("question -> answer", "Be brief."))}, "program: is another"),
        ({"trainset": TRAINSET[:4]}, "number of items in 'trainset': was 6, is 4"),
        ({"trainset": [*TRAINSET[:5], TRAINSET[0]]}, "argument 'trainset': is another"),
        ({"valset": TRAINSET[:2]}, "argument 'valset': is new"),
        ({"lm": DummyLM([])}, "lm: is another"),
    ],
    ids=["parameter", "metric", "signature", "instructions", "fewer examples", "other examples", "valset", "lm"],
)
async def test_a_journal_of_another_job_is_refused_and_says_what_differs(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = tmp_path / "j"
    with pytest.raises(BudgetExhausted):
        await run_job(job(Model(), path, budget=Budget(calls=3)))
    before = path.read_bytes()
    changes = dict(changes)
    lm = changes.pop("lm", None) or Model()
    with pytest.raises(JournalMismatch) as caught:
        await run_job(job(lm, path, changes.pop("optimizer", None), **changes))
    assert any(says in line for line in caught.value.differences), caught.value.differences
    assert says in str(caught.value)
    assert path.read_bytes() == before
    assert not getattr(lm, "asked", [])


async def test_a_journal_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BudgetExhausted):
        await run_job(job(Model(), tmp_path / "j", budget=Budget(calls=3)))
    monkeypatch.setattr(identities, "_version", lambda: "9.9")
    with pytest.raises(JournalMismatch, match=r"dspex version: was .*, is 9\.9"):
        await run_job(job(Model(), tmp_path / "j"))
    monkeypatch.undo()
    with closing(sqlite3.connect(tmp_path / "j")) as file, file:
        file.execute("UPDATE meta SET value = '2' WHERE name = 'format'")
    with pytest.raises(JournalMismatch, match="format of the journal"):
        await run_job(job(Model(), tmp_path / "j"))


def text_file(path: Path) -> None:
    path.write_text("my notes, which nobody must lose\n" * 200)


def other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE customers (name TEXT)")


@pytest.mark.parametrize("make", [text_file, other_database])
async def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "precious"
    make(path)
    before = path.read_bytes()
    with pytest.raises(JournalUnreadable):
        await run_job(job(Model(), path))
    assert path.read_bytes() == before
    with pytest.raises(JournalUnreadable):
        journal_report(path)


async def test_a_damaged_journal_is_a_typed_error(tmp_path: Path) -> None:
    path = tmp_path / "j"
    await run_job(job(Model(), path))
    whole = path.read_bytes()
    assert len(whole) > 3 * 4096
    for damaged in (whole[: len(whole) // 2], whole[:4096] + b"\xff" * 4096 + whole[8192:], b"\0" * len(whole)):
        path.write_bytes(damaged)
        lm = Model()
        with pytest.raises(JournalUnreadable):
            await run_job(job(lm, path))
        assert lm.asked == []
        assert path.read_bytes() == damaged


async def test_a_folder_that_is_not_there_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(JournalUnreadable):
        await run_job(job(Model(), tmp_path / "nowhere" / "j"))
    with pytest.raises(JournalUnreadable, match="no such file"):
        journal_report(tmp_path / "nowhere")


async def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    (tmp_path / "j").touch()
    with pytest.raises(BudgetExhausted):
        await run_job(job(Model(), tmp_path / "j", budget=Budget(calls=3)))
    assert journal_report(tmp_path / "j").spent.calls == 3


async def test_two_jobs_on_one_journal_the_second_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    lm = Model(lambda _: anyio.sleep_forever())
    async with open_runtime() as rt:
        ref = await rt.start(job(lm, path))
        with pytest.raises(JournalBusy):
            await run_job(job(Model(), path))
        with pytest.raises(JournalBusy):
            journal_report(path)
        # Another process is refused as well.
        code = (
            "import sys; from dspex.engine.optimizers.jobs import journal_report, JournalBusy\n"
            "try: journal_report(sys.argv[1])\n"
            "except JournalBusy: print('busy')"
        )
        done = await anyio.run_process([sys.executable, "-c", code, str(path)], stderr=subprocess.DEVNULL)
        assert done.stdout == b"busy\n"
        await ref.stop()
    await run_job(job(Model(), path))


async def test_an_answer_that_cannot_be_journaled_fails_the_job_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "j"
    lm = Model()
    described = job(lm, path)

    async def fill(number: int) -> None:
        if number == 5:
            journal: Any = described._journal
            journal._connection.execute("PRAGMA max_page_count = 1")  # SQLite's own "disk full"

    lm._wait = fill
    with pytest.raises(JobFailed) as caught:
        await run_job(described)
    assert isinstance(caught.value.__cause__, JournalUnreadable)
    assert "full" in str(caught.value)
    again = Model()
    outcome = await run_job(job(again, path))
    assert outcome.answered_by_journal >= 4


async def test_answers_of_a_job_that_is_shut_down_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "j"
    lm = Model()
    async with open_runtime() as rt:
        ref = await rt.start(job(lm, path))
        while lm.finished < 12:
            await anyio.sleep(0.001)
        await ref.stop()
    kept = journal_report(path).spent.calls
    assert lm.finished - kept <= 2, "but for those in hand"
    again = Model()
    outcome = await run_job(job(again, path))
    assert outcome.answered_by_journal == kept
