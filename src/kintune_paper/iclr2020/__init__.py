"""Li et al., "Rethinking the Hyperparameters for Fine-tuning", ICLR 2020: every table and figure.

A file an experiment, which declares what it is made of for both protocols (`protocols`); grids that
several share are in `axes`, the paper's numbers in `published.toml`.
"""

from kintune_paper.iclr2020 import (
    figure1,
    figure2,
    figure3,
    figure4,
    figure5,
    figure6,
    figure7,
    figure8,
    figure9,
    figure10,
    figure11,
    figure12,
    figure13,
    table1,
    table2,
    table3,
    table4,
    table5,
    table6,
    table7,
    table8,
)

EXPERIMENTS = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        *(table1, table2, table3, table4, table5, table6, table7, table8),
        *(figure1, figure2, figure3, figure4, figure5, figure6, figure7, figure8, figure9),
        *(figure10, figure11, figure12, figure13),
    )
}
"""By the names that `kintune reproduce` takes."""
