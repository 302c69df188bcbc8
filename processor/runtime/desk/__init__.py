"""The lending desk of a consumer: everything that threads share, under one lock that no other package sees. Each part
of `Desk` offers what one kind of caller needs; what other packages use of it is imported from here.

No code that holds the lock blocks, logs or does I/O. A borrower takes it once for each batch.
"""

from processor.runtime.desk.borrower import Borrower, Invited
from processor.runtime.desk.cancelling import Waiting
from processor.runtime.desk.desk import Desk, Report
from processor.runtime.desk.outcomes import Acknowledged
from processor.runtime.desk.set_aside import Delayed

__all__ = ["Acknowledged", "Borrower", "Delayed", "Desk", "Invited", "Report", "Waiting"]
