"""An agent whose tools come from an MCP server."""

import asyncio

import dspy
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

server = StdioServerParameters(command="python", args=["server.py"])


class Book(dspy.Signature):
    """Book what the customer asks for."""

    request: str = dspy.InputField()
    outcome: str = dspy.OutputField()


async def book(request: str):
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write) as session:
            await session.initialize()
            tools = await session.list_tools()
            agent = dspy.ReAct(Book, tools=[dspy.Tool.from_mcp_tool(session, tool) for tool in tools.tools])
            return await agent.acall(request=request)


if __name__ == "__main__":
    dspy.configure(lm=dspy.LM("anthropic/claude-sonnet-4-6"))
    print(asyncio.run(book("a flight to Oslo")))
