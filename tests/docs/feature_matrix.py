"""The page of the availability matrix, made of the registry.

``python tests/docs/feature_matrix.py`` writes docs/feature-matrix.md anew: run it when the engine gains a feature.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dspex.router import FEATURES, matrix

PAGE = Path(__file__).parents[2] / "docs" / "feature-matrix.md"


def page() -> str:
    """docs/feature-matrix.md."""
    counts = Counter(record.status for record in FEATURES.values())
    told = ", ".join(f"{counts[status]} {status}" for status in ("native", "native with changes", "legacy only", "not offered"))
    return INTRODUCTION.replace("{counts}", f"{len(FEATURES)} features: {told}") + "\n" + matrix()


INTRODUCTION = '''\
# Feature matrix

What `dspy` 3.4 offers, and which engine serves it. {counts}.

* **native**: the native engine has it, with `dspy`'s names, prompts and results.
* **native with changes**: the same, but for what the fourth column says.
* **legacy only**: a worker process that runs the real `dspy` has it, the native engine has not.
* **not offered**: neither, and what to do instead.

`since` is the oldest series of `dspy` that has it; 2.5 means that or an older one. The first column is what flags and `explain`
call it:

```python
from dspex.router import Flags, explain, feature

assert feature("dspy.ReAct").status.startswith("native")
print(explain("react"))
print(explain("dspy.BootstrapFinetune"))
Flags(features={"react": "legacy", "qa/react": "native"})  # programs with ReAct in the workers, but for qa
```

This page is written by `python tests/docs/feature_matrix.py` from the registry, which asks the engine; a test compares them.
'''


if __name__ == "__main__":
    PAGE.write_text(page())
