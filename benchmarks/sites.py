"""Patching every (layer, position): one sweep of Sites against one hooked run per site.

The peer is the loop everybody writes first with TransformerLens: `run_with_cache` on the donors,
then `model.run_with_hooks` once for each site. Both sides include the reading of the donors.
"""

from __future__ import annotations

from typing import Any

from benchmarks import side_by_side


def rows(quick: bool = False, layers: int = 4, positions: int = 16) -> list[dict[str, Any]]:
    """Two widths, each with 1 and 8 pairs of inputs. `quick`: fewer runs.

    The gain is the overhead of many small calls, and the layers below a site; where one call
    alone fills the core (wide model, many pairs) only the second is left.
    """
    import torch
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    result = []
    for width in (32, 64):
        config = TransformerBridgeConfig(
            d_model=width,
            d_head=width // 4,
            n_heads=4,
            n_layers=layers,
            n_ctx=positions,
            d_vocab=50,
            d_vocab_out=50,
            d_mlp=4 * width,
            act_fn="gelu",
            normalization_type="LN",
            seed=0,
        )
        model = TransformerBridge.boot_native(config).eval()
        for batch in (1, 8):
            inputs, donors = torch.randint(0, 50, (2, batch, positions), generator=generator)
            what = f"patch {layers} layers x {positions} positions, width {width}, batch {batch}"
            result.append(_row(what, model, inputs, donors, runs=3 if quick else 15))
    return result


def _row(what: str, model: Any, inputs: Any, donors: Any, runs: int) -> dict[str, Any]:
    import torch

    from utils.sites import Site, run, sweep

    positions = inputs.shape[1]
    hooks = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.cfg.n_layers)]
    sites = [Site(hook, position=p) for hook in hooks for p in range(positions)]

    def ours() -> torch.Tensor:
        values = run(model, donors, read=sites).values
        return sweep(
            model,
            inputs,
            sites,
            values,
            metric=lambda logits: logits[:, -1],
            allow_unchanged=True,
        )

    @torch.no_grad()
    def peer() -> torch.Tensor:
        _, cache = model.run_with_cache(donors)
        outputs = []
        for name in hooks:
            for p in range(positions):

                def patch(activation: Any, hook: Any, p: int = p) -> Any:
                    activation[:, p] = cache[hook.name][:, p]
                    return activation

                outputs.append(model.run_with_hooks(inputs, fwd_hooks=[(name, patch)])[:, -1])
        return torch.stack(outputs)

    return side_by_side(what, ours, peer, runs=runs, sites=len(sites), batch=len(inputs))
