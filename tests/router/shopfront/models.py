"""Types that the application uses too. No dspy here."""

import enum


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"
