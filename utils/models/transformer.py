"""Small transformers, built natively in TransformerLens so that its hook names apply."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from torch import nn


def build_transformer(*, seed: int = 0, **config: Any) -> nn.Module:
    """A native `TransformerBridge`, on the CPU, initialised from `seed`.

    config: fields of `TransformerBridgeConfig` (d_model, d_head, n_heads, n_layers, n_ctx, d_vocab,
        d_vocab_out, attn_only, d_mlp, act_fn ...). No layer norm unless `normalization_type` asks
        for it: without it every component's output adds to the logits in a straight line.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notices about features of pretrained models
        logging.getLogger("transformer_lens").setLevel(logging.ERROR)
        from transformer_lens.config import TransformerBridgeConfig
        from transformer_lens.model_bridge import TransformerBridge

        settings = {"normalization_type": None, "act_fn": "relu", "device": "cpu", **config}
        return TransformerBridge.boot_native(TransformerBridgeConfig(**settings, seed=seed))
