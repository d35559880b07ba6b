"""Another client than the official one, written by others and in another language: signalrcore.

Calls, streams and hears of a group, over the transport that it is told; says "done", or what went wrong.

    python3 client.py ADDRESS TRANSPORT
"""

import queue
import sys
import threading

from signalrcore.hub_connection_builder import HubConnectionBuilder
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
    completion = answers.get(timeout=PATIENCE)
    if completion.error is not None:
        raise RuntimeError(completion.error)
    return completion.result


def stream(connection, method):
    """All items of a stream."""
    events = queue.Queue()
    connection.stream(method, []).subscribe({
        "next": lambda item: events.put(("item", item)),
        "complete": lambda completion: events.put(("end", completion.error)),
        "error": lambda error: events.put(("end", error)),
    })
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
    expect(stream(one, "Stream"), ["a", "b", "c"])
    try:
        invoke(one, "ThrowException", ["An error occurred."])
    except RuntimeError as error:
        expect(str(error), "An unexpected error occurred invoking 'ThrowException' on the server. "
                           "InvalidOperationException: An error occurred.")
    else:
        raise AssertionError("it did not fail")
    told = queue.Queue()
    one.on("Message", told.put)
    invoke(one, "Join", ["kitchen"])
    invoke(two, "SendToGroup", ["kitchen", "tea"])
    expect(told.get(timeout=PATIENCE), ["tea"])
    for connection in (one, two):
        connection.stop()
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
