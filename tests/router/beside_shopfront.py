"""Lies beside the package, and says `import dspy` where it is needed."""


def predict():
    import dspy

    return dspy.Predict
