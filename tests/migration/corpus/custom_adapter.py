"""An adapter that writes its own system message, and callbacks that watch."""

import dspy
from dspy.adapters import ChatAdapter
from dspy.utils.callback import BaseCallback


class PoliteAdapter(ChatAdapter):
    def format_task_description(self, signature):
        return "Please be polite.\n" + super().format_task_description(signature)


class Watch(BaseCallback):
    def __init__(self):
        self.seen = []

    def on_module_start(self, call_id, instance, inputs):
        self.seen.append(("start", type(instance).__name__))

    def on_module_end(self, call_id, outputs, exception=None):
        self.seen.append(("end", exception is None))


class Greet(dspy.Module):
    def __init__(self):
        super().__init__()
        self.greet = dspy.Predict("name -> greeting")

    def forward(self, name):
        return self.greet(name=name)


ANSWERS = [{"greeting": "Good day, Ann."}]


def run():
    watch = Watch()
    with dspy.context(adapter=PoliteAdapter(), callbacks=[watch]):
        made = Greet()(name="Ann")
    return {"greeting": made.greeting, "seen": watch.seen}
