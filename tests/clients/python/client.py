"""Another client than the official one, written by others and in another language: signalrcore.

Calls, streams and hears of a group, over the transport that it is told; says "done", or what went wrong.

    python3 client.py ADDRESS TRANSPORT
"""

import queue
import sys
import threading
import uuid

from signalrcore.hub.handlers import StreamHandler
from signalrcore.hub_connection_builder import HubConnectionBuilder
from signalrcore.messages.stream_invocation_message import StreamInvocationMessage
from signalrcore.types import HttpTransportType

PATIENCE = 30


def connect(address, transport):
    """A started connection."""
    options = {"transport": HttpTransportType(transport)}
    connection = HubConnectionBuilder().with_url(f"{address}/testhub", options=options).build()
    opened = threading.Event()
    connection.on_open(opened.set)
    connection.start()
    if not opened.wait(PATIENCE):
        raise TimeoutError("the connection did not open")
    return connection


def invoke(connection, method, arguments):
    """Calls a method and waits for its result."""
    answers = queue.Queue()
    connection.invoke(method, arguments, answers.put)
    # A call that fails is not answered here, but to the connection's on_error.
    return answers.get(timeout=PATIENCE).result


def stream(connection, method):
    """All items of a stream."""
    events = queue.Queue()
    # As connection.stream() does, but nothing can come before there is somebody to hear it.
    handler = StreamHandler(method, str(uuid.uuid4()))
    handler.subscribe({
        "next": lambda item: events.put(("item", item)),
        "complete": lambda completion: events.put(("end", completion.error)),
        "error": lambda error: events.put(("end", error)),
    })
    connection.stream_handlers[handler.invocation_id].append(handler)
    connection.transport.send(
        StreamInvocationMessage(handler.invocation_id, method, [], headers=connection.headers))
    items = []
    while True:
        kind, value = events.get(timeout=PATIENCE)
        if kind == "end":
            if value is not None:
                raise RuntimeError(value)
            return items
        items.append(value)


def expect(found, expected):
    if found != expected:
        raise AssertionError(f"expected {expected!r}, found {found!r}")


def main(address, transport):
    one = connect(address, transport)
    two = connect(address, transport)
    expect(invoke(one, "Echo", ["żółć ☕"]), "żółć ☕")
    expect(invoke(one, "GetActiveTransportName", []), transport)
    # Of a poll's messages this client reads the first, and the others with the next poll.
    if transport != "LongPolling":
        expect(stream(one, "Stream"), ["a", "b", "c"])
    failed = queue.Queue()
    one.on_error(failed.put)
    one.invoke("ThrowException", ["An error occurred."])
    expect(failed.get(timeout=PATIENCE).error,
           "An unexpected error occurred invoking 'ThrowException' on the server. "
           "InvalidOperationException: An error occurred.")
    told = queue.Queue()
    one.on("Message", told.put)
    invoke(one, "Join", ["kitchen"])
    invoke(two, "SendToGroup", ["kitchen", "tea"])
    expect(told.get(timeout=PATIENCE), ["tea"])
    # Not stopped: this client's stop() waits until something else comes from the server.
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
