"""Texts as threads of LangGraph's SQLite saver, every thread deleted: ``langgraph_.py FOLDER < texts``."""

import sys

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

folder, texts = sys.argv[1], sys.stdin.read().splitlines()
with SqliteSaver.from_conn_string(f"{folder}/threads.db") as saver:
    graph = StateGraph(MessagesState)
    graph.add_node("answer", lambda _state: {"messages": [("ai", "noted")]})
    graph.add_edge(START, "answer")
    app = graph.compile(checkpointer=saver)
    for number, text in enumerate(texts):
        app.invoke({"messages": [("user", text)]}, {"configurable": {"thread_id": str(number)}})
    for number in range(len(texts)):
        saver.delete_thread(str(number))
