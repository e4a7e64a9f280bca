"""What a network looks at and looks for: attributions, exemplars, synthesised features.

Each has its judge here too: attributions are graded against a planted footprint and against the
image itself, synthesised features against exemplars, by an observer that must predict.
"""

from utils.features.attribution import (
    FeatureError,
    gradient,
    gradient_x_input,
    integrated_gradients,
    occlusion,
    smooth_gradient,
)
from utils.features.judging import (
    METHODS,
    edges,
    footprint_auroc,
    judge,
    random_map,
    randomised,
    rank_correlation,
    top_precision,
    weighted_layers,
)
from utils.features.observer import observe
from utils.features.synthesis import activations, exemplars, synthesise

__all__ = [
    "METHODS",
    "FeatureError",
    "activations",
    "edges",
    "exemplars",
    "footprint_auroc",
    "gradient",
    "gradient_x_input",
    "integrated_gradients",
    "judge",
    "observe",
    "occlusion",
    "random_map",
    "randomised",
    "rank_correlation",
    "smooth_gradient",
    "synthesise",
    "top_precision",
    "weighted_layers",
]
