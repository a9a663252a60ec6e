"""Features -> `Prototypes`: one mean a class stands for a whole domain.

The source's prototypes come from its images, from a file, or, where nobody has the images, from the
network itself.
"""

from kintune.similarity.prototypes.clusters import clustered, default_clusters
from kintune.similarity.prototypes.files import load_prototypes, save_prototypes
from kintune.similarity.prototypes.head import head_prototypes
from kintune.similarity.prototypes.prototypes import Origin, Prototypes, class_prototypes
from kintune.similarity.prototypes.source import POCKET_PROTOTYPES, SourceSpec, source_prototypes

__all__ = [
    "POCKET_PROTOTYPES",
    "Origin",
    "Prototypes",
    "SourceSpec",
    "class_prototypes",
    "clustered",
    "default_clusters",
    "head_prototypes",
    "load_prototypes",
    "save_prototypes",
    "source_prototypes",
]
