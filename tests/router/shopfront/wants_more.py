"""Says `import dspy` and uses what the engine does not have."""

from dspy import ColBERTv2


def build():
    return ColBERTv2
