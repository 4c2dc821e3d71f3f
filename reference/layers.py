"""Numbers for components that no trace of EasyRec in this repository has, from PyTorch in double precision.

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


def placed_convolution(x, p, padding, stride, dilation):
    """Keras' Conv1D: `same` has as many zeros before as behind, or one less; `causal` has all of them before."""
    reach = dilation * (p["kernel"].shape[0] - 1)
    zeros = {"valid": 0, "causal": reach, "same": max(((x.shape[1] - 1) // stride) * stride + reach + 1 - x.shape[1], 0)}[padding]
    before = zeros if padding == "causal" else zeros // 2
    x = F.pad(x.transpose(1, 2), (before, zeros - before))
    return F.conv1d(x, p["kernel"].permute(2, 1, 0), p["bias"], stride=stride, dilation=dilation).transpose(1, 2)


def dense(x, p, name):
    return x @ p[f"{name}/kernel"] + (p[f"{name}/bias"] if f"{name}/bias" in p else 0.0)


def highway(x, p, layers, function):
    """Srivastava, Greff, Schmidhuber 2015, arXiv 1505.00387, equation 3, behind a projection."""
    v = dense(x, p, "input_projection")
    for i in range(layers):
        gate = torch.sigmoid(dense(v, p, f"gate_{i}"))
        v = gate * function(dense(v, p, "dense" if i == 0 else f"dense_{i}")) + (1 - gate) * v
    return v


def mask_block(net, mask_input, p, output):
    """MaskNet (Wang, She, Zhang 2021, arXiv 2102.07619, equations 6 to 9), with the norm of its input and a projection of the mask's."""
    net = F.layer_norm(net, net.shape[-1:], p["input_ln/gamma"], p["input_ln/beta"], eps=1e-3) if output else net
    projected = mask_input @ p["project/kernel"] if output else mask_input
    masked = net * dense(torch.relu(dense(projected, p, "aggregation")), p, "weights")
    if not output:
        return masked
    out = masked @ p["output/kernel"]
    return torch.relu(F.layer_norm(out, out.shape[-1:], p["output_ln/gamma"], p["output_ln/beta"], eps=1e-3))


def pp_net(x, gate_input, p, layers, eager, full):
    """PEPNet (Chang et al. 2023, arXiv 2302.01115, equations 7 to 9): gates of twice a sigmoid scale what layers give, or what they get."""
    z = torch.cat([x.detach(), gate_input], dim=-1) if full else gate_input

    def gate(i):
        # Hidden layers are numbered over the whole graph.
        number = i if eager else i - 1
        hidden = torch.tanh(dense(z, p, f"gate_{i}/dense" + (f"_{number}" if number else "")))
        return 2 * torch.sigmoid(dense(hidden, p, f"gate_{i}/weight"))

    y = x * gate(0) if eager else x
    for i in range(layers):
        y = torch.tanh(dense(y, p, f"layer_{i}/dense"))
        y = y * gate(i + 1) if not eager or i + 1 < layers else y
    return y


def periodic(x, p, linear):
    """Gorishniy, Rubachev, Babenko 2022, arXiv 2203.05556: sines and cosines of learnt frequencies, for each number a layer of its own."""
    v = 2 * math.pi * x.unsqueeze(-1) * p["coefficients"]
    e = torch.cat([torch.sin(v), torch.cos(v)], dim=-1)
    if linear:
        e = torch.tanh(torch.einsum("bni,nio->bno", e, p["weights"][0]) + p["bias"])
    return e.flatten(1)


def se_net(features, p, groups, skip):
    """FiBiNET++ (Zhang, Zhang, Huang 2022, arXiv 2209.05016, section 3.2): groups' maxima and means say how much of each column passes."""
    squeezed = []
    for feature in features:
        cut = feature.reshape(ROWS, groups, -1)
        squeezed += [cut.amax(-1), cut.mean(-1)]
    x = torch.cat(features, dim=-1)
    y = x * dense(torch.relu(dense(torch.cat(squeezed, dim=-1), p, "W1")), p, "W2")
    y = y + x if skip else y
    return F.layer_norm(y, y.shape[-1:], p["output_ln/gamma"], p["output_ln/beta"], eps=1e-3)


def bi_linear(x, p, kind, plus):
    """FiBiNET (Huang, Zhang, Zhang 2019, arXiv 1905.09433, section 3.3): one matrix for all, for each left field, or for each pair."""
    pairs = [(i, j) for i in range(x.shape[1]) for j in range(i + 1, x.shape[1])]
    name = {"all": "all", "each": "each_{0}", "interaction": "interaction_{0}_{1}"}[kind]
    products = [dense(x[:, i], p, name.format(i, j)) * x[:, j] for i, j in pairs]
    return dense(torch.cat([v.sum(-1, keepdim=True) if plus else v for v in products], dim=-1), p, "output")


def dot_interaction(x, itself, whole):
    """DLRM (Naumov et al. 2019, arXiv 1906.00091): inner products of pairs of fields, row by row of the lower triangle."""
    dots = torch.tril(x @ x.transpose(1, 2), 0 if itself else -1)
    rows, columns = torch.tril_indices(x.shape[1], x.shape[1], 0 if itself else -1)
    return dots.flatten(1) if whole else dots[:, rows, columns]


def heads_of_attention(q, v, k, p, causal):
    """Vaswani et al. 2017, arXiv 1706.03762, section 3.2.2; kernels are those of queries, keys, values and the output."""
    project = lambda x, i: torch.einsum("bld,dhe->bhle", x, p["kernel" + i]) + p["bias" + i].unsqueeze(1)
    q, k, v = project(q, ""), project(k, "_1"), project(v, "_2")
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    if causal:
        scores = scores + torch.triu(torch.full(scores.shape[-2:], -1e9), 1)
    return torch.einsum("bhle,heo->blo", torch.softmax(scores, dim=-1) @ v, p["kernel_3"]) + p["bias_3"]


def text_cnn(x, p, sizes, length):
    """Kim 2014, arXiv 1408.5882: the largest value of each filter over the places where its window fits."""
    x = F.pad(x, (0, 0, 0, max(length - x.shape[1], 0)))[:, :length]
    parts = []
    for i, _ in enumerate(sizes):
        name = "conv1d" if i == 0 else f"conv1d_{i}"
        y = F.conv1d(x.transpose(1, 2), p[f"{name}/kernel"].permute(2, 1, 0), p[f"{name}/bias"])
        parts.append(torch.tanh(y).amax(-1))
    return torch.cat(parts, dim=-1)


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
    yield from sum_cases()
    yield from field_cases()
    yield from gate_cases()
    yield from position_cases()


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


def sum_cases():
    """Components that add, multiply or bend elements."""
    functions = {
        "tanh": torch.tanh, "gelu": F.gelu, "swish": F.silu, "selu": F.selu, "softplus": F.softplus, "softsign": F.softsign,
        "mish": F.mish, "exponential": torch.exp, "hard_sigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    }
    for name, function in functions.items():
        yield case(f"activation {name}", "Activation", {"activation": name}, [6], {}, lambda x, p, function=function: function(x[0]))
    yield case("add", "Add", {}, [6, 6, 6], {}, lambda x, p: x[0] + x[1] + x[2])
    yield case("multiply", "Multiply", {}, [(3, 5), (3, 5)], {}, lambda x, p: x[0] * x[1])
    for shape in (6, (3, 5)):
        width = shape if shape == 6 else shape[1]
        yield case(f"layer norm of {shape}", "LayerNormalization", {"epsilon": 0.01}, [shape], {"gamma": (width,), "beta": (width,)},
                   lambda x, p, width=width: F.layer_norm(x[0], (width,), p["gamma"], p["beta"], eps=0.01))
    weighted = lambda x, p: x[1][:, :1] * x[0] + x[1][:, 1:] * x[2]
    yield case("gate", "Gate", {"weight_index": 1}, [6, 2, 6], {}, weighted)
    for linear in (True, False):
        settings = {"embedding_dim": 4, "sigma": 0.1, "add_linear_layer": linear, "linear_activation": "tanh"}
        shapes = {"coefficients": (1, 3, 2)} | ({"weights": (1, 3, 4, 4), "bias": (1, 3, 4)} if linear else {})
        yield case(f"periodic, linear {linear}", "PeriodicEmbedding", settings, [3], shapes,
                   lambda x, p, linear=linear: periodic(x[0], p, linear))


def field_cases():
    """Components of fields and lists of features."""
    count = {"all": ["all"], "each": ["each_0", "each_1"], "interaction": ["interaction_0_1", "interaction_0_2", "interaction_1_2"]}
    for kind, plus in (("all", True), ("each", False), ("interaction", False)):
        shapes = {"output/kernel": (3 if plus else 15, 4), "output/bias": (4,)}
        for name in count[kind]:
            shapes |= {f"{name}/kernel": (5, 5), f"{name}/bias": (5,)}
        settings = {"type": kind, "use_plus": plus, "num_output_units": 4}
        yield case(f"bilinear, {kind}", "BiLinear", settings, [(3, 5)], shapes,
                   lambda x, p, kind=kind, plus=plus: bi_linear(x[0], p, kind, plus))
    for itself, whole in ((False, False), (True, False), (True, True)):
        settings = {"self_interaction": itself, "skip_gather": whole}
        yield case(f"dots, itself {itself}, whole {whole}", "DotInteraction", settings, [(3, 5)], {},
                   lambda x, p, itself=itself, whole=whole: dot_interaction(x[0], itself, whole))
    for skip in (True, False):
        settings = {"reduction_ratio": 2, "num_squeeze_group": 2, "use_skip_connection": skip}
        shapes = {"W1/kernel": (12, 6), "W1/bias": (6,), "W2/kernel": (6, 16), "W2/bias": (16,),
                  "output_ln/gamma": (16,), "output_ln/beta": (16,)}
        yield case(f"squeeze and excitation, skip {skip}", "SENet", settings, [6, 4, 6], shapes,
                   lambda x, p, skip=skip: se_net(x, p, 2, skip))


def gate_cases():
    """Components with gates and masks."""
    shapes = {"input_projection/kernel": (6, 5), "input_projection/bias": (5,)}
    for i, name in enumerate(("dense", "dense_1")):
        shapes |= {f"gate_{i}/kernel": (5, 5), f"gate_{i}/bias": (5,), f"{name}/kernel": (5, 5), f"{name}/bias": (5,)}
    yield case("highway", "Highway", {"emb_size": 5, "activation": "tanh", "num_layers": 2}, [6], shapes,
               lambda x, p: highway(x[0], p, 2, torch.tanh))
    for output in (True, False):
        settings = {"aggregation_size": 7} | ({"output_size": 6, "input_layer_norm": True, "projection_dim": 2} if output else {})
        shapes = {"aggregation/kernel": (2 if output else 5, 7), "aggregation/bias": (7,), "weights/kernel": (7, 6), "weights/bias": (6,)}
        if output:
            shapes |= {"input_ln/gamma": (6,), "input_ln/beta": (6,), "project/kernel": (5, 2), "output/kernel": (6, 6),
                       "output_ln/gamma": (6,), "output_ln/beta": (6,)}
        yield case(f"mask block, output {output}", "MaskBlock", settings, [6, 5], shapes,
                   lambda x, p, output=output: mask_block(x[0], x[1], p, output))
    for mode, full in (("lazy", True), ("eager", False)):
        mlp = {"hidden_units": [4, 3], "activation": "tanh", "final_activation": "tanh", "use_bn": False, "use_final_bn": False,
               "use_bias": True, "use_final_bias": True}
        settings = {"mlp": mlp, "gate_params": {"hidden_dim": 3, "activation": "tanh"}, "mode": mode, "full_gate_input": full}
        width = 8 if full else 3
        shapes = {"layer_0/dense/kernel": (5, 4), "layer_0/dense/bias": (4,), "layer_1/dense/kernel": (4, 3), "layer_1/dense/bias": (3,)}
        for name, i, units in (("dense", 1, 4), ("dense_1", 2, 3)) if mode == "lazy" else (("dense", 0, 5), ("dense_1", 1, 4)):
            shapes |= {f"gate_{i}/{name}/kernel": (width, 3), f"gate_{i}/{name}/bias": (3,)}
            shapes |= {f"gate_{i}/weight/kernel": (3, units), f"gate_{i}/weight/bias": (units,)}
        yield case(f"personal gates, {mode}", "PPNet", settings, [5, 3], shapes,
                   lambda x, p, mode=mode, full=full: pp_net(x[0], x[1], p, 2, mode == "eager", full))


def position_cases():
    """Components of positions."""
    for inputs, causal in (([(4, 5), (4, 5)], True), ([(4, 5), (3, 6), (3, 7)], False)):
        value, key = inputs[1][1], inputs[-1][1]
        settings = {"num_heads": 2, "key_dim": 3, "value_dim": 4, "use_causal_mask": causal}
        shapes = {"kernel": (5, 2, 3), "bias": (2, 3), "kernel_1": (key, 2, 3), "bias_1": (2, 3), "kernel_2": (value, 2, 4),
                  "bias_2": (2, 4), "kernel_3": (2, 4, 5), "bias_3": (5,)}
        yield case(f"heads of attention, causal {causal}", "MultiHeadAttention", settings, inputs, shapes,
                   lambda x, p, causal=causal: heads_of_attention(x[0], x[1], x[-1], p, causal))
    for padding, size, stride, dilation in (("same", 2, 1, 1), ("same", 3, 2, 1), ("causal", 2, 1, 2), ("valid", 2, 3, 1), ("same", 3, 1, 2)):
        settings = {"filters": 4, "kernel_size": size, "padding": padding, "strides": stride, "dilation_rate": dilation}
        yield case(f"convolution, {padding}, stride {stride}, dilation {dilation}", "Conv1D", settings, [(6, 3)],
                   {"kernel": (size, 3, 4), "bias": (4,)},
                   lambda x, p, rule=(padding, stride, dilation): placed_convolution(x[0], p, *rule))
    for length in (3, 6):
        settings = {"filter_sizes": [2, 3], "num_filters": [4, 2], "pad_sequence_length": length, "activation": "tanh"}
        shapes = {"conv1d/kernel": (2, 6, 4), "conv1d/bias": (4,), "conv1d_1/kernel": (3, 6, 2), "conv1d_1/bias": (2,)}
        yield case(f"filters over {length} positions", "TextCNN", settings, [(5, 6)], shapes,
                   lambda x, p, length=length: text_cnn(x[0], p, [2, 3], length))


if __name__ == "__main__":
    json.dump({"script": "reference/layers.py", "torch": torch.__version__, "cases": list(cases())}, sys.stdout)
    sys.stdout.write("\n")
