"""A sibling that says `import dspy`, in more than one way."""

import dspy
import dspy.teleprompt
from dspy.signatures.signature import ensure_signature
from dspy.teleprompt import BootstrapFewShot

from .models import Mood

SAME = dspy.teleprompt.BootstrapFewShot is BootstrapFewShot


class Ask(dspy.Signature):
    """Answer in a word."""

    question: str = dspy.InputField(desc="what a customer wants to know")
    answer: str = dspy.OutputField()
    mood: Mood = dspy.OutputField()


assert ensure_signature(Ask) is Ask
