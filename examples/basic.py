"""A minimal handler, for a Kafka that has the topic `orders`. `docker compose up --detach kafka topics` starts one at
localhost:9092; `make kafka` starts one without Docker, and prints its address. Run the handler with

    processor run examples.basic:greet -b localhost:9092 -t orders -g greeters --value-format json

and produce tasks from another terminal, one JSON object per line:

    echo '{"session_id": "anna", "payload": {"name": "Anna"}}' |
        processor produce -b localhost:9092 -t orders --value-format json

The tasks of one session run one at a time, in the order in which they were produced. Sessions run in parallel.
"""

from processor import Reject, Task


def greet(task: Task) -> str:
    name = task.payload.get("name")
    if not name:
        raise Reject("the payload has no name")  # dead-lettered without a retry, which would not help
    print(f"Hello, {name}! (session {task.session_id}, attempt {task.attempt})", flush=True)
    return f"greeted {name}"  # sent to --results-topic, if it is set
