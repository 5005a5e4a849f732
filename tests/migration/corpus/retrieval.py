"""Passages from a server of ColBERT's."""

import dspy

colbert = dspy.ColBERTv2(url="http://127.0.0.1:9/wiki17_abstracts")
dspy.settings.configure(rm=colbert)


class RAG(dspy.Module):
    def __init__(self, num_passages=3):
        super().__init__()
        self.retrieve = dspy.Retrieve(k=num_passages)
        self.generate_answer = dspy.ChainOfThought("context, question -> answer")

    def forward(self, question):
        context = self.retrieve(question).passages
        return self.generate_answer(context=context, question=question)
