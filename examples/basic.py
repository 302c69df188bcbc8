"""A handler in ten lines. Run it with

    processor run examples.basic:greet -b localhost:9092 -t greetings -g greeters --value-format json

and give it tasks, one JSON object a line, from another terminal:

    echo '{"session_id": "anna", "payload": {"name": "Anna"}}' |
        processor produce -b localhost:9092 -t greetings --value-format json

Tasks of one session run one after the other, in the order in which they were produced; sessions run beside each other.
"""

from processor import Reject, Task


def greet(task: Task) -> str:
    name = task.payload.get("name")
    if not name:
        raise Reject("nobody to greet")  # a dead letter at once: another attempt would not help
    print(f"Hello, {name}! (session {task.session_id}, attempt {task.attempt})", flush=True)
    return f"greeted {name}"  # goes to --results-topic, where one is set
