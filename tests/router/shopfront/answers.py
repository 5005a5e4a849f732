"""A program of a team that uses dspy."""
# ruff: noqa: F401, I001

from __future__ import annotations

import importlib
import os.path

import beside_shopfront
import shopfront.models as by_path
import shopfront.prompts
from dspy import Module, Predict
from shopfront import Receipt, models, prompts

from . import EXECUTED
from . import models as relative

HERE = os.path.basename(__file__)


class Answers(Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = Predict(prompts.Ask)

    def forward(self, question: str):
        import dspy

        return dspy.Prediction(**self.ask(question=question).toDict())


def build():
    return Answers()


def late():
    import dspy.utils

    return dspy.Predict, importlib.import_module("shopfront.models")


ready = Answers()
number = 7


def breaks():
    raise LookupError("no shop today")
