"""A program that reads one file in a tight loop and tells every state it saw; run as a process of its own.

`python reader.py PATH` prints "reading" once it has begun, and at the end of its standard input one JSON object:
how often it read, how often the name was not there, and the contents it saw in base64.
"""

import base64
import json
import sys
import threading
from pathlib import Path


def main() -> None:
    path = Path(sys.argv[1])
    is_over = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        is_over.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    seen: set[bytes] = set()
    reads = absent = 0
    print("reading", flush=True)  # noqa: T201
    while not is_over.is_set():
        try:
            seen.add(path.read_bytes())
            reads += 1
        except FileNotFoundError:
            absent += 1
        is_over.wait(0.0005)  # so that the servers, too, get on
    states = [base64.b64encode(content).decode() for content in seen]
    json.dump({"reads": reads, "absent": absent, "states": states}, sys.stdout)


if __name__ == "__main__":
    main()
