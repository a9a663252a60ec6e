"""How near a target domain lies to a source domain, from the class prototypes of both.

`distance` and `similarity` are the paper's (Appendix B, equations 3 and 4; Cui et al. 2018,
arXiv:1806.06193, section 4.1): the Earth Mover's Distance between class means, and exp(-gamma d).
They depend on how large a network's features are and charge a target for the source classes that it
lacks. `relative_distance` depends on neither: see `kintune.similarity.relative`.
"""

from kintune.similarity.explanation import (
    Flow,
    Neighbor,
    far_cost,
    nearest_source_classes,
    transport_flows,
)
from kintune.similarity.measure import Similarity, domain_similarity
from kintune.similarity.ranking import SourceRanking, rank_sources
from kintune.similarity.relative import (
    class_costs,
    class_distance,
    domain_shift,
    relative_distance,
    source_center,
)
from kintune.similarity.resampling import BOOTSTRAP_DRAWS, Draws, bootstrap
from kintune.similarity.transport import (
    TransportPlan,
    earth_movers_distance,
    euclidean_costs,
    optimal_transport,
)

__all__ = [
    "BOOTSTRAP_DRAWS",
    "Draws",
    "Flow",
    "Neighbor",
    "Similarity",
    "SourceRanking",
    "TransportPlan",
    "bootstrap",
    "class_costs",
    "class_distance",
    "domain_shift",
    "domain_similarity",
    "earth_movers_distance",
    "euclidean_costs",
    "far_cost",
    "nearest_source_classes",
    "optimal_transport",
    "rank_sources",
    "relative_distance",
    "source_center",
    "transport_flows",
]
