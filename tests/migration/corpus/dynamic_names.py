"""Names that are only known when it runs."""

import importlib
import sys

import dspy

MODULES = {"predict": dspy.Predict, "think": dspy.ChainOfThought}


def by_choice(kind, signature):
    return MODULES[kind](signature)


def by_name(name, signature):
    return getattr(dspy, name)(signature)


def by_module(name):
    module = importlib.import_module("dspy." + name)
    return vars(module)


def by_trick():
    return sys.modules["dspy"].Predict("question -> answer")


def by_text(code):
    exec(code, globals())


def known(signature):
    return getattr(dspy, "Predict")(signature)
