"""`python -m kintune` is `kintune`."""

from kintune.cli import main

main()
