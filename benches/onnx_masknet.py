"""ONNX Runtime's side of the comparison of scoring: MaskNet as a hand-written graph with the weights that `score_speed --dump` wrote.

What it is given to be fast: all fields in one table and one lookup, batch norm folded into the products, ids that are bound to the
session beforehand (worth 4 to 10% at one row), and rows of text that are cut and converted for a whole batch at once.
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import peer

BLOCKS = 3
EPSILON = 1e-3
MOST_GENRES = 3


class GraphBuilder:
    """Nodes and constants of a graph under construction; its methods give names of tensors."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, values):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind, *inputs, output=None, **attributes):
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output


def masknet(tensors, fields, several):
    """The model: ids in the merged table `[B, fields]` (the last ones those of the field with several, padded with the id of a row of
    zeros) to probabilities `[B, 1]`.
    """
    b = GraphBuilder()
    tables = peer.tables(tensors, fields)
    width = tables[0].shape[1]
    table = b.constant("table", np.concatenate([*tables, np.zeros((1, width), np.float32)]))
    singles = len(fields) - several

    def weight(name):
        return tensors[f"backbone/mask_net/{name}"]

    def constant(name):
        return b.constant(name, weight(name))

    def layer_norm(name, x):
        return b.node("LayerNormalization", x, constant(f"{name}/gamma"), constant(f"{name}/beta"), axis=-1, epsilon=EPSILON)

    def dense(name, x):
        return b.node("Gemm", x, constant(f"{name}/kernel"), constant(f"{name}/bias"))

    def flat(ids, columns):
        return b.node("Reshape", b.node("Gather", table, ids), b.constant(f"shape_{ids}", np.array([-1, columns * width])))

    group = flat("ids", singles)
    if several:
        genres = b.node("ReduceSum", b.node("Gather", table, "several"), b.constant("axis", np.array([1])), keepdims=0)
        group = b.node("Concat", group, genres, axis=1)
    x = layer_norm("input_ln", group)
    outputs = []
    for block in range(BLOCKS):
        name = f"block_{block}"
        mask = dense(f"{name}/weights", b.node("Relu", dense(f"{name}/aggregation", x)))
        output = b.node("MatMul", b.node("Mul", x, mask), constant(f"{name}/output/kernel"))
        outputs.append(b.node("Relu", layer_norm(f"{name}/output_ln", output)))
    h = b.node("Concat", *outputs, axis=1)
    for layer in range(2):
        name = f"mlp/layer_{layer}"
        part = {part: weight(f"{name}/bn/{part}") for part in ("gamma", "beta", "moving_mean", "moving_variance")}
        scale = part["gamma"] / np.sqrt(part["moving_variance"] + np.float32(EPSILON))
        kernel = b.constant(f"{name}/kernel", weight(f"{name}/dense/kernel") * scale)
        bias = b.constant(f"{name}/bias", part["beta"] - part["moving_mean"] * scale)
        h = b.node("Relu", b.node("Gemm", h, kernel, bias))
    logit = b.node("Gemm", h, b.constant("output/kernel", tensors["output/kernel"]), b.constant("output/bias", tensors["output/bias"]))
    b.node("Sigmoid", logit, output="probabilities")
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", singles])]
    if several:
        inputs.append(helper.make_tensor_value_info("several", TensorProto.INT64, ["B", MOST_GENRES]))
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["B", 1])]
    graph = helper.make_graph(b.nodes, "masknet", inputs, outputs, b.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def bound(model, inputs, output):
    """A call of the session with inputs and output in memory of its own kind."""
    binding = model.io_binding()
    for name, values in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values)))
    binding.bind_ortvalue_output("probabilities", output)
    return binding


class Rows:
    """Where each field's ids lie in the merged table, and how rows become the model's inputs."""

    def __init__(self, tensors, fields, several):
        lengths = [len(table) for table in peer.tables(tensors, fields)]
        first = np.cumsum([0, *lengths])
        self.singles = len(fields) - several
        self.first, self.first_several, self.padding = first[: self.singles], int(first[self.singles]), int(first[-1])
        self.several = several
        # The ids of each value of the field with several ids, ready in memory: a dictionary is faster than cutting and converting.
        self.known = {}

    def inputs(self, columns):
        """The model's inputs from columns of ids."""
        columns = list(columns)
        ids = np.stack([ids for _, ids in columns[: self.singles]], 1) + self.first
        if not self.several:
            return [ids]
        offsets, several = columns[-1]
        return [ids, peer.padded(offsets, several + self.first_several, self.padding, MOST_GENRES)]

    def parse(self, lines):
        """The model's inputs from lines of text: the label, then the fields."""
        if not self.several:
            return [numbers(lines)[:, 1:] + self.first]
        parts = [line.rpartition(",") for line in lines]
        several = np.array([self.known.get(part[2]) or self.several_ids(part[2]) for part in parts], np.int64)
        return [numbers([part[0] for part in parts])[:, 1:] + self.first, several]

    def several_ids(self, text):
        ids = [int(part) + self.first_several for part in text.split("|")]
        self.known[text] = ids + [self.padding] * (MOST_GENRES - len(ids))
        return self.known[text]


def numbers(lines):
    """Lines of as many numbers each as a matrix; three to five times as fast as to cut them in Python and convert the parts."""
    return np.fromstring(",".join(lines), np.int64, sep=",").reshape(len(lines), -1)


def lines(columns):
    """Columns of ids as lines, as score_speed.rs writes them."""
    texts = [["|".join(map(str, ids[a:b])) for a, b in zip(offsets, offsets[1:])] for offsets, ids in columns]
    return [",".join(["0", *row]) for row in zip(*texts)]


def main():
    parser = peer.scoring_parser()
    parser.add_argument("--raw", action="store_true", help="score lines of text and not batches of ids")
    options = parser.parse_args()
    tensors, metadata = peer.read_safetensors(options.dump)
    fields = metadata["fields"].split(",")
    several = int(fields[-1] == "genres")
    rows = Rows(tensors, fields, several)
    columns = [list(peer.id_columns(tensors, fields, number)) for number in range(int(metadata["batches"]))]
    model = session(masknet(tensors, fields, several), options.threads)
    names = ["ids", "several"][: 1 + several]
    if options.raw:
        batches = list(peer.pieces([lines(batch) for batch in columns], options.batch))
        peer.answer(batches, options.batch, lambda texts: model.run(None, dict(zip(names, rows.parse(texts))))[0])
        return
    inputs = [rows.inputs(batch) for batch in columns]
    pieces = zip(*(list(peer.pieces(parts, options.batch)) for parts in zip(*inputs)))
    output = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((options.batch, 1), np.float32))

    def score(binding):
        model.run_with_iobinding(binding)
        return output

    bindings = [bound(model, dict(zip(names, piece)), output) for piece in pieces]
    peer.answer(bindings, options.batch, score, read=lambda output: output.numpy())


if __name__ == "__main__":
    main()
