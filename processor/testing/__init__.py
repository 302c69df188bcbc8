"""For users' tests: runs handlers on tasks in the real engine, with topics in memory in place of Kafka. The support of
this project's own tests is in `tests/support`.

```python
from processor.testing import run, task


def test_a_refused_card_is_a_dead_letter():
    report = run(app, [{"session_id": "anna", "name": "charge", "payload": {"card": "expired"}}])
    assert [letter.error_type for letter in report.dead_letters] == ["processor.Reject"]


def test_a_charge_returns_its_amount():
    assert charge(task({"cents": 100})) == "1.00"
```
"""

from processor.testing.execution import run
from processor.testing.report import DeadLetter, Done, Report
from processor.testing.tasks import task

__all__ = ["DeadLetter", "Done", "Report", "run", "task"]
