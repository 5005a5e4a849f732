"""Endpoints: some wait as they should, some block their loop."""

import asyncio
from contextlib import asynccontextmanager

import dspy
from fastapi import FastAPI


class Answer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.answer(question=question)


@asynccontextmanager
async def lifespan(app):
    app.state.answer = Answer()
    yield


app = FastAPI(lifespan=lifespan)
program = Answer()
quick = dspy.asyncify(program)


def answer_now(question):
    return program(question=question).answer


@app.get("/blocking")
async def blocking(question: str):
    return {"answer": program(question=question).answer}


@app.get("/through-a-function")
async def through_a_function(question: str):
    return {"answer": answer_now(question)}


@app.get("/through-the-state")
async def through_the_state(request):
    return request.app.state.answer(question="Why?")


@app.get("/awaited")
async def awaited(question: str):
    made = await program.acall(question=question)
    return {"answer": made.answer}


@app.get("/in-a-thread")
async def in_a_thread(question: str):
    made = await asyncio.to_thread(program, question=question)
    other = await quick(question=question)
    return {"answer": made.answer, "other": other.answer}


@app.get("/plain")
def plain(question: str):
    return {"answer": program(question=question).answer}
