"""Programs as pickles."""

import pickle

import dspy


class Ask(dspy.Module):
    def __init__(self):
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.ask(question=question)


def keep(program: Ask):
    program.save("program/", save_program=True)
    program.save("program.pkl")
    with open("copy.pkl", "wb") as file:
        pickle.dump(program, file)


def restore():
    program = dspy.load("program/", allow_pickle=True)
    other = Ask()
    other.load("program.pkl", allow_pickle=True)
    other.load("program.json")
    return program, other
