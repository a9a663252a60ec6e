"""Figure 2: the loss between the pretrained and the fine-tuned weights.

    kintune reproduce figure2 --data DATA --runs RUNS

Cost: small 4 runs shared with Table 2 and some minutes; paper 4 runs. The paper printed a drawing.
Here it is a real slice: the training loss over the plane through three points of weight space, the
start and the ends of training with momentum 0.9 and 0 at learning rate 0.01, for a near and a far
set.
"""

from kintune.runs.defaults import USUAL_LR
from kintune_paper.engine.declaration import (
    Experiment,
    Figure,
    Measurement,
    Panel,
    Protocol,
)
from kintune_paper.iclr2020.axes import pair
from kintune_paper.iclr2020.protocols import MOMENTA


def declare(protocol: Protocol) -> Figure:
    """A panel for a far set and one for a near one."""
    near, far = pair(protocol)
    return Figure(
        panels=(_panel(protocol, far, "dissimilar"), _panel(protocol, near, "similar")),
        x_label="towards the end with momentum 0.9",
        y_label="at right angles to it",
        notes=("Distances in units of the way with momentum 0.9. Lines of equal training loss.",),
    )


def _panel(protocol: Protocol, target: str, word: str) -> Panel:
    runs = protocol.runs(protocol.main, target, momentum=MOMENTA, lr=USUAL_LR, weight_decay=1e-4)
    plane = Measurement(kind="loss plane", network=protocol.main, target=target, runs=runs)
    return Panel(title=f"{word}: {protocol.title(target)}", plane=plane)


EXPERIMENT = Experiment(
    name="figure2",
    title="The loss between pretrained and fine-tuned weights",
    printed="A drawing: momentum hurries far goals and overshoots near ones.",
    declare=declare,
    differs="Measured, where the paper has a drawing.",
)
