"""Every error that bleen raises on purpose; each says what happened, where, and what to do next.

::

    BleenError
    ├── PortError          what a provider answers when it cannot do what it was asked
    │   ├── Unavailable    not now: the engine asks again, with back-off, until the phase's deadline
    │   ├── Refused        not ever: the phase takes its failure edge
    │   └── Fenced         somebody with a larger epoch has acted: stand down, nothing was done
    ├── StaleWriter        the journal has moved on since it was read: stand down, nothing was written
    ├── Gone               the state of the service was removed while it was in use: stand down for good
    ├── Held               another living process drives this service
    ├── Busy               another release of the service is under way
    └── UserError          a person can mend it: configuration, usage, a refusal; exit 2, nothing touched

Anything else that escapes a port is a bug of ours: the phase takes its failure edge, and the traceback goes to the log.
"""


class BleenError(Exception):
    """The root; never raised itself. Its text is shown to people as it is: one or two lines."""


class PortError(BleenError):
    """A provider could not do what it was asked."""


class Unavailable(PortError):
    """The other side does not answer now; the same call may succeed later."""


class Refused(PortError):
    """The call can never succeed as it stands: an unknown target, a binary that does not exist."""


class Fenced(PortError):
    """An effect was asked with an epoch smaller than one already seen; it was dropped."""


class StaleWriter(BleenError):
    """A row was changed, or the service claimed, by somebody else since it was read."""


class Gone(BleenError):
    """What is known and intended of the service is not there any more; only a person can say what is right."""


class Held(BleenError):
    """The service is driven by a process that is alive."""


class Busy(BleenError):
    """A release of the service is under way; the text says which, and until when."""


class UserError(BleenError):
    """What was asked cannot be done as asked, and nothing was touched; the text says what would be right."""

    located = False
    """The text begins with file:line:column, for editors to jump to."""


def trace() -> str:
    """The traceback of the exception that is being handled, for a log: never for a person."""
    import traceback  # 4 ms, only where there is a bug

    return traceback.format_exc()
