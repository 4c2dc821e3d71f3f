"""Exact values of what traces of EasyRec hold, to tell a difference of rounding from one of meaning.

A trace is in single precision. Where a network normalises again and again, what EasyRec itself computes is farther from the exact
value than 1e-5, so that no right program can be held to that. This script computes the first step of such cases in double precision
with NumPy alone, from what the trace holds of weights and inputs, prints how far the trace is from the exact values, and writes these
to `crates/train/tests/exact/CASE.safetensors`, where the golden tests read them:

    python reference/exact.py GOLDEN CASE...

GOLDEN is the folder of the traces. Needs numpy and safetensors.

Cases of DBMTL with target attention start from `step1/input_layer/all` and the sequences' embeddings, those of TextCNN from the
padded sequence, that of Uniter from its image. The models are written from the papers and EasyRec's behaviours 29, 104, 133, 137, 150,
153, 159, 160 and 184, independently of the Rust code. Gradients come from reverse-mode differentiation, below.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

OUTPUT = Path(__file__).resolve().parent.parent / "crates/train/tests/exact"
MASKED = -(2.0**32) + 1


class Node:
    """An array and what carries a gradient back to the arrays that it was made of."""

    def __init__(self, x, back=()):
        self.x, self.back, self.grad = x, back, None

    def __add__(self, other):
        other = node(other)
        return Node(self.x + other.x, ((self, lambda g: fit(g, self.x)), (other, lambda g: fit(g, other.x))))

    def __mul__(self, other):
        other = node(other)
        return Node(self.x * other.x, ((self, lambda g: fit(g * other.x, self.x)), (other, lambda g: fit(g * self.x, other.x))))

    def __sub__(self, other):
        return self + node(other) * -1.0

    def __matmul__(self, other):
        rows = lambda a: a.reshape(-1, a.shape[-1])
        return Node(self.x @ other.x, ((self, lambda g: g @ other.x.T), (other, lambda g: rows(self.x).T @ rows(g))))

    def of(self, y, slope):
        return Node(y, ((self, lambda g: g * slope),))


def node(x):
    return x if isinstance(x, Node) else Node(np.asarray(x, np.float64))


def fit(gradient, like):
    """The sum over what was repeated."""
    while gradient.ndim > like.ndim:
        gradient = gradient.sum(0)
    for axis, size in enumerate(like.shape):
        if size == 1 and gradient.shape[axis] != 1:
            gradient = gradient.sum(axis, keepdims=True)
    return gradient


def relu(a):
    return a.of(np.maximum(a.x, 0), a.x > 0)


def inverse_root(a):
    y = 1 / np.sqrt(a.x)
    return a.of(y, -0.5 * y**3)


def inverse(a):
    return a.of(1 / a.x, -1 / a.x**2)


def exponential(a):
    y = np.exp(a.x)
    return a.of(y, y)


def softplus(a):
    return a.of(np.logaddexp(0, a.x), 1 / (1 + np.exp(-a.x)))


def sigmoid(a):
    y = 1 / (1 + np.exp(-a.x))
    return a.of(y, y * (1 - y))


def total(a, axis=None, keep=False):
    y = a.x.sum(axis, keepdims=True)
    out = y if keep else y.reshape(np.sum(a.x, axis).shape)
    return Node(out, ((a, lambda g: np.broadcast_to(g.reshape(y.shape), a.x.shape)),))


def mean(a, axes):
    return total(a, axes, keep=True) * (1 / np.prod([a.x.shape[axis] for axis in axes]))


def reshape(a, shape):
    return Node(a.x.reshape(shape), ((a, lambda g: g.reshape(a.x.shape)),))


def concat(parts):
    cuts = np.cumsum([part.x.shape[-1] for part in parts])[:-1]
    back = [(part, lambda g, i=i: np.split(g, cuts, -1)[i]) for i, part in enumerate(parts)]
    return Node(np.concatenate([part.x for part in parts], -1), tuple(back))


def maximum(a, axis):
    y = a.x.max(axis, keepdims=True)
    hit = (a.x == y).astype(np.float64)
    hit /= hit.sum(axis, keepdims=True)
    return Node(y.squeeze(axis), ((a, lambda g: np.expand_dims(g, axis) * hit),))


def transpose(a, axes):
    return Node(a.x.transpose(axes), ((a, lambda g: g.transpose(np.argsort(axes))),))


def matmul(a, b):
    """Products of the last two dimensions."""
    swap = lambda x: x.swapaxes(-1, -2)
    return Node(a.x @ b.x, ((a, lambda g: fit(g @ swap(b.x), a.x)), (b, lambda g: fit(swap(a.x) @ g, b.x))))


def gelu(a):
    """By tanh, as EasyRec has it."""
    root = np.sqrt(2 / np.pi)
    t = np.tanh(root * (a.x + 0.044715 * a.x**3))
    slope = 0.5 * (1 + t) + 0.5 * a.x * (1 - t * t) * root * (1 + 3 * 0.044715 * a.x**2)
    return a.of(0.5 * a.x * (1 + t), slope)


def softmax(a):
    weights = exponential(a - a.x.max(-1, keepdims=True))
    return weights * inverse(total(weights, -1, keep=True))


def backward(loss):
    order, seen = [], {id(loss)}
    stack = [(loss, iter(loss.back))]
    while stack:
        current, children = stack[-1]
        for child, _ in children:
            if id(child) not in seen:
                seen.add(id(child))
                stack.append((child, iter(child.back)))
                break
        else:
            order.append(current)
            stack.pop()
    loss.grad = np.ones_like(loss.x)
    for current in reversed(order):
        for child, back in current.back:
            gradient = back(current.grad)
            child.grad = gradient if child.grad is None else child.grad + gradient


def normalised(x, axes, epsilon, variables, name):
    centred = x - mean(x, axes)
    variance = mean(centred * centred, axes)
    return centred * inverse_root(variance + epsilon) * variables[f"{name}/gamma"] + variables[f"{name}/beta"]


def batch_norm(x, variables, name):
    return normalised(x, tuple(range(x.x.ndim - 1)), 1e-3, variables, name)


def layer_norm(x, variables, name):
    return normalised(x, (-1,), 1e-12, variables, name)


def cross_entropy(logits, labels):
    losses = softplus(logits) - logits * labels
    return total(losses) * (1 / losses.x.size)


class Dbmtl:
    """DBMTL over one group with target attention; the sample configs' l2_regularization."""

    PENALTY = 1e-6

    def __init__(self, trace, variables):
        self.trace, self.variables = trace, variables

    def tensor(self, name):
        return node(self.trace[name].astype(np.float64))

    def dense(self, x, name):
        return x @ self.variables[f"{name}/kernel"] + self.variables[f"{name}/bias"]

    def dnn(self, x, name):
        layer = 0
        while f"{name}/dnn_{layer}/kernel" in self.variables:
            x = self.dense(x, f"{name}/dnn_{layer}")
            if f"{name}/dnn_{layer}/bn/gamma" in self.variables:
                x = relu(batch_norm(x, self.variables, f"{name}/dnn_{layer}/bn"))
            layer += 1
        return x

    def attention(self, group):
        prefix = f"step1/seq_att/{group}"
        sequence, key = self.tensor(f"{prefix}/hist_seq_emb"), self.tensor(f"{prefix}/key")
        lengths = self.trace[f"{prefix}/hist_seq_len"]
        rows, positions, width = sequence.x.shape
        transform = f"transform_layer_seq_dnn{group}"
        if f"sequence_key_{transform}/kernel" in self.variables:
            key, sequence = self.dense(key, f"sequence_key_{transform}"), self.dense(sequence, f"sequence_fea_{transform}")
        elif key.x.shape[-1] < width:
            key = concat([key, node(np.zeros((rows, width - key.x.shape[-1])))])
        query = reshape(key, (rows, 1, width)) + np.zeros(sequence.x.shape)
        scores = self.dnn(concat([query, sequence, query - sequence, query * sequence]), f"seq_dnn{group}")
        held = (np.arange(positions) < lengths[:, None]).astype(np.float64)
        scores = reshape(scores, (rows, positions)) * held + (1 - held) * MASKED
        weights = softmax(scores)
        return [total(reshape(weights, (rows, positions, 1)) * sequence, 1), key]

    def run(self):
        groups = sorted({name.split("/")[2] for name in self.trace if name.startswith("step1/seq_att/")})
        parts = [self.tensor("step1/input_layer/all")] + [part for group in groups for part in self.attention(group)]
        tensors = {"step1/group/all": concat(parts)}
        bottom = self.dnn(tensors["step1/group/all"], "bottom_dnn")
        click = self.dnn(self.dnn(bottom, "ctr/dnn"), "ctr/relation_dnn")
        buy = self.dnn(concat([self.dnn(bottom, "cvr/dnn"), click]), "cvr/relation_dnn")
        loss = node(0.0)
        for tower, label, x in (("ctr", "clk", click), ("cvr", "buy", buy)):
            logits = self.dense(x, f"{tower}/output")
            tensors[f"step1/logits_{tower}"] = reshape(logits, (-1,))
            loss = loss + cross_entropy(logits, self.trace[f"step1/label/{label}"][:, None])
        for name, variable in self.variables.items():
            # The transforms are plain dense layers of Keras, whose kernels nothing penalises.
            if name.endswith("/kernel") and not name.startswith("sequence_"):
                loss = loss + total(variable * variable) * (self.PENALTY / 2)
        return tensors, loss


class TextCnn:
    """TextCNN over the sequence of a backbone's input layer, with an MLP and the output layer of a RankModel."""

    def __init__(self, trace, variables):
        self.trace, self.variables = trace, variables

    def run(self):
        prefix = next(name.split("/conv1d/")[0] for name in self.variables if "/conv1d/" in name)
        sequence = next(tensor for name, tensor in self.trace.items() if name.startswith("step1/block/") and tensor.ndim == 3)
        # Both cases pad or cut to a length that is given here as what the longest filter's windows were made of.
        length = {"backbone/x": 8, "backbone/textcnn": 6}[prefix]
        rows, positions, width = sequence.shape
        x = np.zeros((rows, length, width))
        x[:, : min(length, positions)] = sequence[:, :length]
        pooled, layer = [], 0
        while (name := f"{prefix}/conv1d{f'_{layer}' if layer else ''}") + "/kernel" in self.variables:
            kernel = self.variables[f"{name}/kernel"]
            taps, _, filters = kernel.x.shape
            windows = np.stack([x[:, at : at + taps].reshape(rows, -1) for at in range(length - taps + 1)], 1)
            convolved = node(windows) @ reshape(kernel, (taps * width, filters)) + self.variables[f"{name}/bias"]
            pooled.append(maximum(relu(convolved), 1))
            layer += 1
        y, layer = concat(pooled), 0
        while f"{prefix}/mlp/layer_{layer}/dense/kernel" in self.variables:
            y = y @ self.variables[f"{prefix}/mlp/layer_{layer}/dense/kernel"]
            y = relu(batch_norm(y, self.variables, f"{prefix}/mlp/layer_{layer}/bn"))
            layer += 1
        logits = y @ self.variables["output/kernel"] + self.variables["output/bias"]
        label = next(tensor for name, tensor in self.trace.items() if name.startswith("step1/label/"))
        return {"step1/logits": reshape(logits, (-1,))}, cross_entropy(logits, label[:, None])


class Uniter:
    """Uniter over one image: two tokens, the learnt first one and the image's."""

    HEADS = 2

    def __init__(self, trace, variables):
        self.trace, self.variables = trace, variables

    def dense(self, x, name):
        return x @ self.variables[f"{name}/kernel"] + self.variables[f"{name}/bias"]

    def norm(self, x, name):
        return layer_norm(x, self.variables, f"{name}/LayerNorm")

    def heads(self, x):
        rows, tokens, width = x.x.shape
        return transpose(reshape(x, (rows, tokens, self.HEADS, width // self.HEADS)), (0, 2, 1, 3))

    def attention(self, x, name):
        query, key, value = (self.heads(self.dense(x, f"{name}/{part}")) for part in ("query", "key", "value"))
        scores = matmul(query, transpose(key, (0, 1, 3, 2))) * (1 / np.sqrt(query.x.shape[-1]))
        return reshape(transpose(matmul(softmax(scores), value), (0, 2, 1, 3)), x.x.shape)

    def layer(self, x, name):
        attended = self.dense(self.attention(x, f"{name}/attention/self"), f"{name}/attention/output/dense")
        x = self.norm(attended + x, f"{name}/attention/output")
        widened = gelu(self.dense(x, f"{name}/intermediate/dense"))
        return self.norm(self.dense(widened, f"{name}/output/dense") + x, f"{name}/output")

    def run(self):
        image = self.dense(node(self.trace["step1/group/image"].astype(np.float64)), "img_projection")
        rows, width = image.x.shape
        positions = self.variables["position_embedding/img_position_embeddings"]
        first = np.eye(1, positions.x.shape[0]).astype(np.float64)
        image = layer_norm(image + matmul(node(first), positions), self.variables, "LayerNorm")
        own = reshape(self.variables["cls_emb"], (1, width)) + np.zeros((rows, width))
        x, layer = reshape(concat([own, image]), (rows, 2, width)), 0
        while f"uniter_layer_{layer}/output/dense/kernel" in self.variables:
            x = self.layer(x, f"uniter_layer_{layer}")
            layer += 1
        y, layer = reshape(matmul(node(np.array([[1.0, 0.0]])), x), (rows, width)), 0
        while f"final_dnn/dnn_{layer}/kernel" in self.variables:
            y = relu(batch_norm(self.dense(y, f"final_dnn/dnn_{layer}"), self.variables, f"final_dnn/dnn_{layer}/bn"))
            layer += 1
        logits = self.dense(y, "output")
        loss = cross_entropy(logits, self.trace["step1/label/label"][:, None])
        tensors = {"step1/logits": reshape(logits, (-1,)), "step1/probs": reshape(sigmoid(logits), (-1,))}
        return tensors | {"step1/loss_dict/cross_entropy_loss": loss, "step1/total_loss": loss}, loss


def model_of(variables):
    if any("/conv1d/" in name for name in variables):
        return TextCnn
    return Uniter if "cls_emb" in variables else Dbmtl


def exact(trace):
    variables = {name[5:]: node(x.astype(np.float64)) for name, x in trace.items() if name.startswith("init/")}
    model = model_of(variables)
    tensors, loss = model(trace, variables).run()
    backward(loss)
    values = {name: tensor.x for name, tensor in tensors.items()}
    # Tables are read before the sequences begin.
    for name, variable in variables.items():
        if variable.grad is not None and "embedding" not in name and f"grad1/{name}" in trace:
            values[f"grad1/{name}"] = variable.grad
    return {name: np.ascontiguousarray(value, np.float64) for name, value in values.items()}


def main():
    golden, cases = Path(sys.argv[1]), sys.argv[2:]
    OUTPUT.mkdir(exist_ok=True)
    for case in cases:
        trace = load_file(golden / case / "trace.safetensors")
        values = exact(trace)
        print(case)
        for name, value in sorted(values.items()):
            error, largest = np.abs(value - trace[name]).max(), np.abs(value).max()
            print(f"  {name}: largest {largest:.3g}, the trace errs by {error:.2g}, {error / max(largest, 1e-5):.2g} of it")
        save_file(values, OUTPUT / f"{case}.safetensors")


if __name__ == "__main__":
    main()
