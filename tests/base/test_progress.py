"""What reaches a terminal or a file of any encoding."""

import io

import pytest

from kintune.base.progress import printable, say


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_any_name_can_be_printed_strictly_in_any_encoding(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    say("caf\u00e9 \udce9 \u4e2d \x1b]0;owned\x07\x1b[31m\r \x9b \u202e\nnext\tline", stream)
    content = stream.buffer.getvalue()
    assert not {b for b in content if b < 32} - {ord("\n"), ord("\t")}
    text = content.decode(encoding)
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert r"\xe9" in text
    assert r"\x1b]0;owned\x07\x1b[31m\r" in text
    assert "\nnext\tline" in text


def test_a_name_stays_on_its_line():
    assert printable("a\tb\nc") == r"a\tb\nc"
    assert printable("größe 中 é") == "größe 中 é"
