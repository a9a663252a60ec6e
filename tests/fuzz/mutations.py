"""Extreme values, and damage to bytes and JSON, all drawn from one generator."""

import json
from random import Random
from typing import Any

NUMBERS = (
    *("0", "-0", "1", "2", "3", "-1", "0.5", "1.0", "2.5", "1e-320", "1e308", "1e309", "-1e308"),
    *("inf", "-inf", "nan", "65536", "4294967295", "4294967296", "9223372036854775808"),
    *("1" + "0" * 400, "0x10", "1_0", "٣", "", " 1", "1e", "--", "True", "None"),
)
TEXTS = (
    *("", " ", ".", "-", "é", "\udcff", "\u202e", "\x1b[31m", "a\nb", "*", "%s", "{}", "~"),
    *("a" * 300, "a/" * 2500, "pocket", "no_such_model", "torchvision:none", "torchvision:"),
    *("sklearn:digits", "sklearn:none", "paper:cub200", "paper:cub200=x", "paper:=", "a=b"),
    *("num_classes=0", "width=1e9", "cpu", "cuda", "cuda:9", "cuda:-1", "auto", "meta"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**63, 10**400, 0.5, -0.5, 1e308, float("inf"), float("nan")),
    *("", " ", "a", "a" * 1000, "\udcff", "\x1b[31m", "../x", "/dev/null", "1", "nan"),
    *([], [[]], [1], [None] * 3, ["a"] * 3, {}, {"a": 1}),
)


def damaged(content: bytes, rng: Random) -> bytes:
    """The bytes after one to three changes."""
    for _ in range(rng.randint(1, 3)):
        content = _changed(content, rng)
    return content


def _changed(content: bytes, rng: Random) -> bytes:
    first, second = sorted(rng.randint(0, len(content)) for _ in range(2))
    match rng.randrange(9):
        case 0:
            return content[:first]
        case 1:
            return content[:first] + content[second:]
        case 2:
            return content[:first] + rng.randbytes(rng.randint(1, 20)) + content[first:]
        case 3:
            return content[:first] + bytes(second - first) + content[second:]
        case 4:
            return content[:first] + content[first:second] * 2 + content[second:]
        case 5:
            return rng.choice((b"", b"\0", b"\xff\xfe", b"{", b"null", b"[]", b"\xef\xbb\xbf"))
        case 6:  # early bytes hold lengths and sizes
            place = rng.randrange(min(len(content), 64) or 1)
            return content[:place] + rng.randbytes(rng.randint(1, 4)) + content[place + 4 :]
        case _:
            flipped = bytearray(content)
            for _ in range(rng.randint(1, 10) if content else 0):
                flipped[rng.randrange(len(flipped))] = rng.randrange(256)
            return bytes(flipped)


def damaged_json(content: bytes, rng: Random) -> bytes:
    """The JSON with one to three values replaced, removed or renamed, or the bytes damaged."""
    if rng.random() < 0.25:
        return damaged(content, rng)
    value = json.loads(content)
    for _ in range(rng.randint(1, 3)):
        _damage(value, rng)
    return json.dumps(value).encode()


def _damage(value: Any, rng: Random) -> None:
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
            value = value[key]
            continue
        match rng.randrange(5):
            case 0:
                del value[key]
            case 1 if isinstance(value, dict):
                value[rng.choice(("", "a", "é", "__class__"))] = value.pop(key)
            case 2 if isinstance(value, list):
                value *= 2
            case _:
                value[key] = rng.choice(VALUES)
        return


def damaged_table(content: bytes, rng: Random) -> bytes:
    """The CSV with one to three cells replaced, or the bytes damaged."""
    if rng.random() < 0.25:
        return damaged(content, rng)
    rows = [line.split(b",") for line in content.splitlines()]
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = _cell(rng)
        if rng.random() < 0.2:
            rows.append(list(row))
        if rng.random() < 0.1:
            row.append(b"x")
    return b"\n".join(b",".join(row) for row in rows) + rng.choice((b"", b"\n", b"\r\n", b"\n\n"))


def _cell(rng: Random) -> bytes:
    odd = (
        b'"',
        b'""',
        b"\0",
        b"\xff",
        b"=1+1",
        b"val",
        b"test",
        b"train",
        b"/dev/null",
        b".",
        b"..",
    )
    texts = tuple(text.encode(errors="surrogateescape") for text in (*NUMBERS, *TEXTS))
    return rng.choice((*odd, *texts, b"x" * 200_000))
