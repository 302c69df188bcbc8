"""Every event that is logged, with its fields: a module for each subject, and other code imports the events from here.
Code that decides when an event occurs belongs elsewhere. `docs/LOGS.md` and `docs/logs.schema.json` are generated from
these classes.
"""

from processor.telemetry.events.clients import *
from processor.telemetry.events.commits import *
from processor.telemetry.events.consumer import *
from processor.telemetry.events.control import *
from processor.telemetry.events.event import *
from processor.telemetry.events.fetching import *
from processor.telemetry.events.fleet import *
from processor.telemetry.events.growth import *
from processor.telemetry.events.handlers import *
from processor.telemetry.events.membership import *
from processor.telemetry.events.stats import *
from processor.telemetry.events.tasks import *


def kinds() -> list[type[Event]]:
    """Return the class of every event that is logged, in the order of the imports."""
    classes = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, Event)]
    return [kind for kind in classes if "event" in vars(kind)]
