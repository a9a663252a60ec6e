"""`kintune reproduce`: the tables and figures of Li et al., ICLR 2020, computed again.

`iclr2020` declares each table and figure, with the numbers that the paper printed; `engine` turns a
declaration into runs, and these into a table or a figure.
"""
