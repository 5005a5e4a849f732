"""A program whose answer is streamed."""

import asyncio

import dspy
from dspy.streaming import StatusMessage, StatusMessageProvider, StreamListener, StreamResponse


class Progress(StatusMessageProvider):
    def module_start_status_message(self, instance, inputs):
        return "thinking"


class Chat(dspy.Module):
    def __init__(self):
        super().__init__()
        self.reply = dspy.ChainOfThought("history: dspy.History, message -> reply")

    async def aforward(self, history, message):
        return await self.reply.acall(history=history, message=message)


stream_chat = dspy.streamify(
    Chat(),
    status_message_provider=Progress(),
    stream_listeners=[StreamListener(signature_field_name="reply")],
    is_async_program=True,
)


async def tell(message):
    said = []
    async for part in stream_chat(history=dspy.History(messages=[]), message=message):
        if isinstance(part, (StatusMessage, StreamResponse)):
            said.append(type(part).__name__)
        elif isinstance(part, dspy.Prediction):
            return part.reply, said
    return None, said


ANSWERS = [{"reasoning": "Polite.", "reply": "Hello Ann"}]


def run():
    reply, _ = asyncio.run(tell("Hello, I am Ann"))
    return {"reply": reply}
