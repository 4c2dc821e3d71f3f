"""Numbers for components that EasyRec does not have, from PyTorch in double precision.

Every function is written from its paper, independently of the Rust code. Each case holds inputs, parameters, the output, and the
gradients of `sum(output * upstream)` with respect to inputs and parameters.

    python reference/layers.py > crates/nn/tests/data/layers.json

Needs PyTorch. The seed is fixed; the committed numbers were written with PyTorch 2.
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(20240612)
torch.set_default_dtype(torch.float64)

ROWS = 5


def gated_cross(x, p, layers):
    """GDCN (Wang et al. 2023, arXiv 2311.04635, equation 3)."""
    c0, c = x, x
    for i in range(layers):
        cross = c0 * (c @ p[f"cross_{i}/kernel"] + p[f"cross_{i}/bias"])
        c = cross * torch.sigmoid(c @ p[f"gate_{i}/kernel"]) + c
    return c


def exponential_cross(x, p, layers, linear):
    """DCNv3 (Li et al. 2024, arXiv 2407.13349, equations 8 to 10): exponential, or linear in the number of layers."""
    x0 = x
    for i in range(layers):
        h = x @ p[f"cross_{i}/kernel"]
        norm = F.layer_norm(h, h.shape[-1:], p[f"cross_{i}/ln/gamma"], p[f"cross_{i}/ln/beta"], eps=1e-5)
        h = torch.cat([h, h * torch.relu(norm)], dim=-1) + p[f"cross_{i}/bias"]
        x = (x0 if linear else x) * h + x
    return x


def factorized_interaction(x, p, units, residual):
    """FINAL (Zhu et al. 2023, SIGIR, equation 4), with ReLU between layers."""
    for i in range(len(units)):
        h = x @ p[f"layer_{i}/kernel"] + p[f"layer_{i}/bias"]
        h2, h1 = torch.chunk(h, 2, dim=-1)
        x = torch.cat([h2, h1 * h2], dim=-1) if residual == "concat" else h2 + h1 * h2
        x = torch.relu(x)
    return x


def final_mlp(x, p, heads, context):
    """FinalMLP (Mao et al. 2023, arXiv 2304.00902, equations 5 to 9): gates from learnt contexts, two streams, bilinear fusion."""
    outputs = []
    for s in (1, 2):
        z = context[s - 1] if context else p[f"gate_{s}/context"].expand(x.shape[0], -1)
        hidden = torch.relu(z @ p[f"gate_{s}/layer_0/dense/kernel"] + p[f"gate_{s}/layer_0/dense/bias"])
        gate = 2 * torch.sigmoid(hidden @ p[f"gate_{s}/layer_1/dense/kernel"] + p[f"gate_{s}/layer_1/dense/bias"])
        y = x * gate
        outputs.append(torch.relu(y @ p[f"stream_{s}/layer_0/dense/kernel"] + p[f"stream_{s}/layer_0/dense/bias"]))
    a, b = outputs
    y = a @ p["fusion/first"] + b @ p["fusion/second"] + p["fusion/bias"]
    width_a, width_b = a.shape[-1] // heads, b.shape[-1] // heads
    units = y.shape[-1]
    for h in range(heads):
        w = p["fusion/product"][h].reshape(width_a, units, width_b)
        left, right = a[:, h * width_a:(h + 1) * width_a], b[:, h * width_b:(h + 1) * width_b]
        y = y + torch.einsum("bi,iuj,bj->bu", left, w, right)
    return y


def case(name, component, settings, inputs, shapes, function):
    inputs = [torch.randn(ROWS, width, requires_grad=True) for width in inputs]
    parameters = {key: torch.randn(*shape).mul_(0.5).requires_grad_(True) for key, shape in shapes.items()}
    output = function(inputs, parameters)
    upstream = torch.randn_like(output)
    (output * upstream).sum().backward()
    listed = lambda tensor: [float(f"{value:.9g}") for value in tensor.detach().flatten().tolist()]
    return {
        "name": name,
        "component": component,
        "settings": settings,
        "inputs": [{"width": x.shape[1], "values": listed(x), "gradient": listed(x.grad)} for x in inputs],
        "parameters": {key: {"shape": list(p.shape), "values": listed(p), "gradient": listed(p.grad)} for key, p in parameters.items()},
        "upstream": listed(upstream),
        "output": {"width": output.shape[1], "values": listed(output)},
    }


def cross_shapes(width, layers):
    shapes = {}
    for i in range(layers):
        shapes |= {f"cross_{i}/kernel": (width, width), f"cross_{i}/bias": (width,), f"gate_{i}/kernel": (width, width)}
    return shapes


def exponential_shapes(width, layers):
    shapes = {}
    for i in range(layers):
        half = width // 2
        shapes |= {f"cross_{i}/kernel": (width, half), f"cross_{i}/bias": (width,)}
        shapes |= {f"cross_{i}/ln/gamma": (half,), f"cross_{i}/ln/beta": (half,)}
    return shapes


def interaction_shapes(width, units, residual):
    shapes = {}
    for i, out in enumerate(units):
        wide = out * 2 if residual == "sum" else out
        shapes |= {f"layer_{i}/kernel": (width, wide), f"layer_{i}/bias": (wide,)}
        width = out
    return shapes


def mlp_shapes(width, hidden, streams, heads, units, contexts):
    shapes = {"fusion/bias": (units,)}
    for s in (1, 2):
        z = contexts[s - 1] if contexts else 4
        if not contexts:
            shapes[f"gate_{s}/context"] = (z,)
        shapes |= {f"gate_{s}/layer_0/dense/kernel": (z, hidden), f"gate_{s}/layer_0/dense/bias": (hidden,)}
        shapes |= {f"gate_{s}/layer_1/dense/kernel": (hidden, width), f"gate_{s}/layer_1/dense/bias": (width,)}
        shapes |= {f"stream_{s}/layer_0/dense/kernel": (width, streams[s - 1]), f"stream_{s}/layer_0/dense/bias": (streams[s - 1],)}
    a, b = streams
    shapes |= {"fusion/first": (a, units), "fusion/second": (b, units)}
    shapes["fusion/product"] = (heads, a // heads, units * (b // heads))
    return shapes


def cases():
    yield case("gated cross", "GatedCross", {"num_layers": 3}, [6], cross_shapes(6, 3), lambda x, p: gated_cross(x[0], p, 3))
    for linear in (False, True):
        settings = {"num_layers": 2, "linear": linear}
        shapes = exponential_shapes(6, 2)
        yield case(f"exponential cross, linear {linear}", "ExponentialCross", settings, [6], shapes,
                   lambda x, p, linear=linear: exponential_cross(x[0], p, 2, linear))
    for residual in ("sum", "concat"):
        settings = {"hidden_units": [6, 4], "residual_type": residual, "use_bn": False}
        yield case(f"factorized interaction, {residual}", "FinalNet", settings, [5], interaction_shapes(5, [6, 4], residual),
                   lambda x, p, residual=residual: factorized_interaction(x[0], p, [6, 4], residual))
    for heads, units, contexts in ((1, 1, []), (2, 3, [4, 2])):
        settings = {"stream1_units": [6], "stream2_units": [4], "gate_units": [3], "num_heads": heads, "output_dim": units,
                    "context_dim": 4, "use_bn": False}
        yield case(f"two streams, {heads} heads", "FinalMLP", settings, [5, *contexts], mlp_shapes(5, 3, (6, 4), heads, units, contexts),
                   lambda x, p, heads=heads: final_mlp(x[0], p, heads, x[1:]))


if __name__ == "__main__":
    json.dump({"script": "reference/layers.py", "torch": torch.__version__, "cases": list(cases())}, sys.stdout)
    sys.stdout.write("\n")
