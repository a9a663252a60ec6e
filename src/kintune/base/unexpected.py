"""Message about an unexpected exception: one line, and a file with the traceback."""

import errno
import tempfile
import traceback
from pathlib import Path

MAX_LENGTH = 300
"""Characters of an exception's text that are told."""
NO_MEMORY = (
    "alloc",  # "DefaultCPUAllocator: can't allocate memory", "std::bad_alloc", "Unable to allocate"
    "out of memory",
    "not enough memory",
    "failed to map segment",  # the dynamic loader, of a library that does not fit
    "can't start new thread",
)


def unexpected(error: BaseException) -> str:
    """One line on an exception, for a person."""
    if is_for_want_of_memory(error):
        return (
            "memory is too small for this command (the process may be limited: ulimit -v, a "
            "container). Use a smaller --batch-size, --image-size, --threads or --workers, or "
            f"allow more memory. {_place(error)}"
        )
    if isinstance(error, OSError) and error.errno and error.filename is not None:
        hint = {
            errno.ENAMETOOLONG: " Use a shorter name.",
            errno.ENOSPC: " Make room and give the same command again.",
            errno.EDQUOT: " Make room and give the same command again.",
        }
        return f"{error.filename}: {error.strerror}.{hint.get(error.errno, '')}"
    return (
        f"an unexpected {type(error).__name__}: {_one_line(str(error))} {_place(error)} If the "
        "input is as the documentation asks, please report it."
    )


def is_for_want_of_memory(error: BaseException) -> bool:
    """Whether the operating system refused memory or threads, also while a library was loaded."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = str(error).lower()
    return isinstance(error, ImportError | OSError | RuntimeError) and any(
        words in text for words in NO_MEMORY
    )


def _place(error: BaseException) -> str:
    """Where the traceback is; the place in the code where no file can be written."""
    lines = traceback.format_exception(error)
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="kintune-traceback-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.writelines(lines)
    except OSError:
        frames = traceback.extract_tb(error.__traceback__)
        last = frames[-1] if frames else None
        return f"(In {Path(last.filename).name}, line {last.lineno}.)" if last else ""
    return f"The traceback is in {file.name}."


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    return plain if len(plain) <= MAX_LENGTH else f"{plain[:MAX_LENGTH]} ..."
