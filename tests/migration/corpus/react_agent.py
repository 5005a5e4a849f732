"""An agent with plain functions as tools."""

import datetime

import dspy
from dspy import Tool

STOCK = {"lamp": 3, "chair": 0}


def in_stock(article: str) -> str:
    """How many of an article there are."""
    return f"{STOCK.get(article, 0)} of {article}"


def order(article: str, count: int = 1) -> str:
    """Order an article."""
    return f"ordered {count} x {article}"


class ShopAssistant(dspy.Signature):
    """You help customers of a furniture shop. Use the tools before you answer."""

    request: str = dspy.InputField()
    today: str = dspy.InputField()
    reply: str = dspy.OutputField(desc="one friendly sentence")


agent = dspy.ReAct(ShopAssistant, tools=[in_stock, Tool(order, name="place_order")], max_iters=4)

ANSWERS = [
    {"next_thought": "See whether there is one.", "next_tool_name": "in_stock", "next_tool_args": {"article": "lamp"}},
    {"next_thought": "Order it.", "next_tool_name": "place_order", "next_tool_args": {"article": "lamp", "count": 1}},
    {"next_thought": "Done.", "next_tool_name": "finish", "next_tool_args": {}},
    {"reasoning": "It was ordered.", "reply": "Your lamp is on its way."},
]


def run():
    made = agent(request="I want a lamp", today=str(datetime.date(2026, 1, 2)))
    return {"reply": made.reply, "trajectory": made.trajectory}
