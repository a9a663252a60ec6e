"""Errors about a user's input. The command line prints the text and exits 1.

Every message says what was wrong and where (the file, the flag), what was found, what is allowed
and what to do next. A diverged or failed run is not an error: it is a result with a reason
(`kintune.runs`).
"""


class KintuneError(Exception):
    """A mistake that the person can fix; its text is the whole message, without a traceback."""


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


def one_line(error: BaseException, limit: int = 200) -> str:
    """The text of another library's exception for the middle of a message: one line, cut at `limit`
    characters; the name of its class where it has no text."""
    text = " ".join(str(error).split()).rstrip(".")
    return (text if len(text) <= limit else text[:limit] + " ...") or type(error).__name__


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""Text of a RuntimeError of torch about memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was too small.

    The CPU's allocator and the libraries below CUDA raise a plain RuntimeError; torch's own class
    is told by its name, so that torch need not be imported.
    """
    is_named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return is_named or any(words in str(error) for words in OUT_OF_MEMORY)
