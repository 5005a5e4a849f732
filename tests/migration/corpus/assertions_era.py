"""Written for dspy 2.4: clients by name, assertions, typed predictors."""

import dspy
from dspy.functional import TypedPredictor
from dspy.primitives.assertions import assert_transform_module, backtrack_handler
from dspy.retrieve.chromadb_rm import ChromadbRM
from pydantic import BaseModel

turbo = dspy.OpenAI(model="gpt-3.5-turbo", max_tokens=250)
store = ChromadbRM("passages", "/tmp/chroma", k=3)
dspy.settings.configure(lm=turbo, rm=store)


class Query(BaseModel):
    text: str


class WriteQuery(dspy.Signature):
    question = dspy.InputField()
    query: Query = dspy.OutputField()


class Checked(dspy.Module):
    def __init__(self):
        super().__init__()
        self.write = TypedPredictor(WriteQuery)
        self.answer = dspy.ChainOfThoughtWithHint("question, query -> answer")

    def forward(self, question):
        query = self.write(question=question).query
        dspy.Suggest(len(query.text) < 100, "The query must be short")
        dspy.Assert("?" not in query.text, "The query must not be a question", target_module=self.write)
        return self.answer(question=question, query=query.text, hint="be brief")


checked = assert_transform_module(Checked(), backtrack_handler)
