"""Causal scrubbing: is the model still itself when all that a hypothesis calls free is resampled?

    graph = TransformerGraph(model, tokens, answer=0)
    claim = Hypothesis((Node(Site("blocks.2.attn.hook_z", head=1, position=0), horizon_test),),
                       unimportant="shared")
    print(scrub(graph, claim, tokens, balanced))

The method, its published numbers and what it cannot show: "Causal Scrubbing: a method for
rigorously testing interpretability hypotheses" (Chan et al. 2022), and lessons 06 and 07.
"""

from utils.scrubbing.draw import save_html, save_png, text_tree, tree
from utils.scrubbing.engine import Cost, MemoryBoundError, expectation, gather, make_store
from utils.scrubbing.graph import Component, FunctionGraph, Graph, chain
from utils.scrubbing.hypothesis import (
    ClaimedTwiceError,
    EmptyClassError,
    FeatureError,
    Hypothesis,
    HypothesisError,
    Node,
    NotUpstreamError,
    Step,
    UnknownComponentError,
    treeify,
)
from utils.scrubbing.plan import Plan
from utils.scrubbing.reference import naive, prefix
from utils.scrubbing.report import ScrubReport, Strength, cross_entropy, recovered, scrub
from utils.scrubbing.samplers import Classes, Draws, Sampler
from utils.scrubbing.transformer import TransformerGraph

__all__ = [
    "Classes",
    "ClaimedTwiceError",
    "Component",
    "Cost",
    "Draws",
    "EmptyClassError",
    "FeatureError",
    "FunctionGraph",
    "Graph",
    "Hypothesis",
    "HypothesisError",
    "MemoryBoundError",
    "Node",
    "NotUpstreamError",
    "Plan",
    "Sampler",
    "ScrubReport",
    "Step",
    "Strength",
    "TransformerGraph",
    "UnknownComponentError",
    "chain",
    "cross_entropy",
    "expectation",
    "gather",
    "make_store",
    "naive",
    "prefix",
    "recovered",
    "save_html",
    "save_png",
    "scrub",
    "text_tree",
    "tree",
    "treeify",
]
