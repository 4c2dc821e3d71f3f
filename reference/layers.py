"""Numbers for components that no trace of EasyRec has, from PyTorch in double precision.

Every function is written from its paper, independently of the Rust code. Each case holds inputs, parameters, the output, and the
gradients of `sum(output * upstream)` with respect to inputs and parameters.

    python reference/layers.py > crates/nn/tests/data/layers.json

Needs PyTorch. The seed is fixed; the committed numbers were written with PyTorch 2.
"""

import json
import math
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


def nary_digits(x, p, dim, carries, pooling, replicas=1):
    """Hybrid N-ary encoding (Chen et al. 2022, CIKM): for each base the embeddings of the digits, from the last one on."""
    digits = {base: 1 + int(math.log(2**32 - 1, base) + 1e-9) for base in carries}
    part = sum(base * digits[base] for base in carries)
    fields = []
    for n in range(x.shape[1]):
        rows = []
        for value in x[:, n].tolist():
            whole = int(value) % 2**32
            first, bases = n * part, []
            for base in carries:
                rest, place, picked = whole, 0, []
                while rest > 0 or place == 0:
                    picked.append(p["embed_table"][first + place * base + rest % base])
                    rest, place = rest // base, place + 1
                total = torch.stack(picked).sum(0)
                bases.append(total / len(picked) if pooling == "mean" else total)
                first += base * digits[base]
            rows.append(torch.cat(bases))
        fields.append(torch.stack(rows))
    return torch.cat(fields, dim=-1)


def rows_of_table(ids, table):
    return table[ids.long()].flatten(1)


def batch_norm(x, p, epsilon=1e-3):
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = rows.mean(0), rows.var(0, unbiased=False)
    return (x - mean) / torch.sqrt(variance + epsilon) * p["gamma"] + p["beta"]


def convolution(x, p):
    """Keras' Conv1D with padding valid: kernels are [size, D, filters], PyTorch's are [filters, D, size]."""
    return torch.relu(F.conv1d(x.transpose(1, 2), p["kernel"].permute(2, 1, 0), p["bias"]).transpose(1, 2))


def random_input(shape):
    """Random numbers of a width, of dimensions, or the numbers themselves, which then have no gradient."""
    if isinstance(shape, torch.Tensor):
        return shape
    dims = shape if isinstance(shape, tuple) else (shape,)
    return torch.randn(ROWS, *dims, requires_grad=True)


def case(name, component, settings, inputs, shapes, function, moving=()):
    inputs = [random_input(shape) for shape in inputs]
    parameters = {key: torch.randn(*shape).mul_(0.5).requires_grad_(True) for key, shape in shapes.items()}
    output = function(inputs, parameters)
    upstream = torch.randn_like(output)
    (output * upstream).sum().backward()
    listed = lambda tensor: [float(f"{value:.9g}") for value in tensor.detach().flatten().tolist()]
    gradient = lambda x: {"gradient": listed(x.grad)} if x.grad is not None else {}
    described = {key: {"shape": list(p.shape), "values": listed(p)} | gradient(p) for key, p in parameters.items()}
    described |= {key: {"shape": [width], "values": [0.0] * width} for key, width in moving}
    return {
        "name": name,
        "component": component,
        "settings": settings,
        "inputs": [{"dims": list(x.shape[1:]), "values": listed(x)} | gradient(x) for x in inputs],
        "parameters": described,
        "upstream": listed(upstream.flatten(1)),
        "output": {"width": output[0].numel(), "values": listed(output)},
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


    yield from keras_cases()
    yield from table_cases()


def keras_cases():
    """Layers of Keras that no trace of EasyRec has."""
    yield case("average", "Average", {}, [6, 6, 6], {}, lambda x, p: (x[0] + x[1] + x[2]) / 3)
    yield case("maximum", "Maximum", {}, [6, 6], {}, lambda x, p: torch.maximum(x[0], x[1]))
    yield case("minimum", "Minimum", {}, [6, 6], {}, lambda x, p: torch.minimum(x[0], x[1]))
    yield case("subtract", "Subtract", {}, [6, 6], {}, lambda x, p: x[0] - x[1])
    yield case("concatenate", "Concatenate", {"axis": -1}, [6, 5], {}, lambda x, p: torch.cat(x, dim=-1))
    yield case("dot", "Dot", {"axes": 1}, [6, 6], {}, lambda x, p: (x[0] * x[1]).sum(-1, keepdim=True))
    cosine = lambda x, p: F.cosine_similarity(x[0], x[1], dim=-1).unsqueeze(-1)
    yield case("dot of unit vectors", "Dot", {"axes": 1, "normalize": True}, [6, 6], {}, cosine)
    yield case("flatten", "Flatten", {}, [(3, 5)], {}, lambda x, p: x[0].flatten(1))
    yield case("reshape", "Reshape", {"target_shape": [5, 3]}, [(3, 5)], {}, lambda x, p: x[0].reshape(ROWS, 5, 3))
    yield case("elu", "ELU", {"alpha": 1.0}, [6], {}, lambda x, p: F.elu(x[0]))
    yield case("leaky relu", "LeakyReLU", {"alpha": 0.3}, [6], {}, lambda x, p: F.leaky_relu(x[0], 0.3))
    yield case("prelu", "PReLU", {}, [6], {"alpha": (6,)}, lambda x, p: torch.relu(x[0]) - p["alpha"] * torch.relu(-x[0]))
    yield case("relu", "ReLU", {}, [6], {}, lambda x, p: torch.relu(x[0]))
    yield case("softmax", "Softmax", {}, [6], {}, lambda x, p: torch.softmax(x[0], dim=-1))
    yield case("average pooling", "GlobalAveragePooling1D", {}, [(3, 5)], {}, lambda x, p: x[0].mean(1))
    yield case("maximum pooling", "GlobalMaxPooling1D", {}, [(3, 5)], {}, lambda x, p: x[0].amax(1))
    yield case("convolution", "Conv1D", {"filters": 4, "kernel_size": 2, "activation": "relu"}, [(5, 6)],
               {"kernel": (2, 6, 4), "bias": (4,)}, lambda x, p: convolution(x[0], p))
    moving = [("moving_mean", 5), ("moving_variance", 5)]
    yield case("batch norm of fields", "BatchNormalization", {}, [(3, 5)], {"gamma": (5,), "beta": (5,)},
               lambda x, p: batch_norm(x[0], p), moving)


def table_cases():
    """Components that pick rows of tables by numbers."""
    ids = torch.tensor([[0.0, 3.0], [2.0, 2.0], [4.0, 0.0], [1.0, 3.0], [3.0, 4.0]])
    yield case("embedding", "Embedding", {"input_dim": 5, "output_dim": 3}, [ids], {"embeddings": (5, 3)},
               lambda x, p: rows_of_table(x[0], p["embeddings"]).reshape(ROWS, 2, 3))
    numbers = torch.tensor([[0.0, 7.9], [2.0, -1.0], [511.0, 1e6], [80.0, -37.5], [3.0, 1.0]])
    for pooling in ("sum", "mean"):
        settings = {"embedding_dim": 3, "carries": [7, 30], "intra_ary_pooling": pooling}
        rows = 2 * (12 * 7 + 7 * 30)
        yield case(f"digits, {pooling}", "NaryDisEmbedding", settings, [numbers], {"embed_table": (rows, 3)},
                   lambda x, p, pooling=pooling: nary_digits(x[0], p, 3, [7, 30], pooling))
    distances = torch.tensor([[0.0], [3.0], [1.0], [2.0], [9.0]])
    yield case("edit distance", "EditDistance", {"embedding_size": 5, "embedding_dim": 3}, [distances], {"embedding_table": (5, 3)},
               lambda x, p: rows_of_table(x[0].clamp(0, 4), p["embedding_table"]))
    buckets = torch.tensor([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [1.0, 2.0], [0.0, 0.0]])
    settings = {"methods": ["query_common_ratio", "is_equal"], "boundaries": [0.2, 0.6], "embedding_dim": 4}
    yield case("overlap", "OverlapFeature", settings, [buckets], {"overlap_emb_table": (6, 4)},
               lambda x, p: rows_of_table(x[0] + torch.tensor([0.0, 3.0]), p["overlap_emb_table"]))
    settings = {"boundaries": [0.5, 2.0], "embedding_dim": 4}
    yield case("dot product of texts", "MappedDotProduct", settings, [buckets[:, :1]], {"dot_product_emb_table": (3, 4)},
               lambda x, p: rows_of_table(x[0], p["dot_product_emb_table"]))


if __name__ == "__main__":
    json.dump({"script": "reference/layers.py", "torch": torch.__version__, "cases": list(cases())}, sys.stdout)
    sys.stdout.write("\n")
