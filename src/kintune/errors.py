"""What is raised when a user's input cannot be used. The command line prints the text and exits 1.

Every message says what was wrong and where (the file, the flag), what was found, what is allowed
and what to do next. A diverged or failed run is not an error: it is a result with a reason
(`kintune.runs`).
"""


class KintuneError(Exception):
    """A mistake that the person can mend; its text is the whole message, without a traceback."""


class DataError(KintuneError):
    """A folder, a file or a table of images that cannot be used as it is."""


class ModelError(KintuneError):
    """A network, its weights or its input statistics that cannot be used as they are."""


class OptionError(KintuneError):
    """A flag, a combination of flags or an output folder that cannot be used as it is."""


class IncomparableError(KintuneError):
    """Two values that come from different extractors, statistics or conventions."""


class SolverError(KintuneError):
    """A numerical solver that ended without a certified answer."""
