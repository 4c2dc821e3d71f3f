"""The PyTorch side of the comparison: MaskNet with EasyRec's maths, from the weights and on the batches that `train_speed --dump` wrote.

It answers as the Rust programs do (see peer.rs): a line with the losses of the first steps, then, for each line of input, a number of
seconds, the samples per second of a window of about this length.

What PyTorch is given to be fast: all fields in one table and one lookup, the fused Adam, denormals flushed, gradients set to none.

With `--sparse` the lookup is `nn.Embedding(sparse=True)` and the table's optimizer `SparseAdam`: gradient and update touch the rows of the
batch alone. That is another optimizer than TensorFlow's, whose Adam moves every row in every step; the comparison of losses says
whether it is near enough.
"""

import argparse
import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import peer

BLOCKS = 3
LOSS_STEPS = 20
LAYER_NORM_EPSILON = 1e-3
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_KEPT = 0.99
EMBEDDING_REGULARIZATION = 1e-4
LEARNING_RATE = 1e-4
BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


class MaskNet(torch.nn.Module):
    """Parallel MaskNet (arXiv 2102.07619, figure 4) over concatenated embeddings, then an MLP with batch norm, then the logit.

    The first columns of a batch's ids are the fields with one id; the last ones are the ids of the field with several, padded with
    a row of zeros that never moves.
    """

    def __init__(self, weights, fields, sparse=False):
        super().__init__()
        tables = peer.tables(weights, fields)
        self.width = tables[0].shape[1]
        padding = np.zeros((1, self.width), np.float32)
        self.padding = sum(len(table) for table in tables)
        table = np.concatenate([*tables, padding])
        self.sparse = sparse
        if sparse:
            self.lookup = torch.nn.Embedding.from_pretrained(
                torch.tensor(table), freeze=False, padding_idx=self.padding, sparse=True
            )
        else:
            self.table = self.parameter(table)
        self.singles = len(fields)
        names = ["input_ln/gamma", "input_ln/beta"]
        for block in range(BLOCKS):
            names += [f"block_{block}/{layer}/{part}" for layer in ("aggregation", "weights") for part in ("kernel", "bias")]
            names += [f"block_{block}/output/kernel", f"block_{block}/output_ln/gamma", f"block_{block}/output_ln/beta"]
        for layer in range(2):
            names += [f"mlp/layer_{layer}/dense/kernel", f"mlp/layer_{layer}/bn/gamma", f"mlp/layer_{layer}/bn/beta"]
        self.p = {name: self.parameter(weights[f"backbone/mask_net/{name}"]) for name in names}
        for part in ("kernel", "bias"):
            self.p[f"output/{part}"] = self.parameter(weights[f"output/{part}"])
        self.dense = torch.nn.ParameterList(self.p.values())
        self.moving = [
            [torch.tensor(weights[f"backbone/mask_net/mlp/layer_{layer}/bn/moving_{moment}"]) for moment in ("mean", "variance")]
            for layer in range(2)
        ]

    @staticmethod
    def parameter(values):
        return torch.nn.Parameter(torch.tensor(values))

    def layer_norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.p[f"{name}/gamma"], self.p[f"{name}/beta"], LAYER_NORM_EPSILON)

    def affine(self, name, x):
        return torch.addmm(self.p[f"{name}/bias"], x, self.p[f"{name}/kernel"])

    def group(self, ids):
        """The concatenated embeddings."""
        # With dense gradients `index_select` is faster than `F.embedding` and `embedding_bag`, above all backwards.
        rows = self.lookup(ids) if self.sparse else self.table.index_select(0, ids.flatten()).view(*ids.shape, self.width)
        several = ids.shape[1] > self.singles
        singles = self.singles - 1 if several else self.singles
        group = rows[:, :singles].flatten(1)
        return torch.cat([group, rows[:, singles:].sum(1)], 1) if several else group

    def logits(self, group):
        x = self.layer_norm("input_ln", group)
        outputs = []
        for block in range(BLOCKS):
            mask = self.affine(f"block_{block}/weights", self.affine(f"block_{block}/aggregation", x).relu())
            output = (x * mask) @ self.p[f"block_{block}/output/kernel"]
            outputs.append(self.layer_norm(f"block_{block}/output_ln", output).relu())
        h = torch.cat(outputs, 1)
        for layer in range(2):
            name = f"mlp/layer_{layer}"
            h = h @ self.p[f"{name}/dense/kernel"]
            mean, variance = self.moving[layer]
            gamma, beta = self.p[f"{name}/bn/gamma"], self.p[f"{name}/bn/beta"]
            h = F.batch_norm(h, mean, variance, gamma, beta, self.training, 1 - BATCH_NORM_KEPT, BATCH_NORM_EPSILON).relu()
        return self.affine("output", h).squeeze(1)

    def forward(self, ids, labels):
        return self.loss(self.group(ids), labels)

    def loss(self, group, labels):
        regularization = EMBEDDING_REGULARIZATION * 0.5 * group.square().sum()
        return F.binary_cross_entropy_with_logits(self.logits(group), labels) + regularization


def read_ids(tensors, model, fields, number):
    """The ids of a batch in the merged table, int64 `[B, fields (+ padding)]`."""
    first_rows = np.cumsum([0, *(len(table) for table in peer.tables(tensors, fields))])
    columns = zip(peer.id_columns(tensors, fields, number), first_rows)
    return torch.tensor(np.concatenate([peer.padded(offsets, ids + first, model.padding) for (offsets, ids), first in columns], 1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dump", required=True, help="file of train_speed --dump")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["highest", "medium"], default="highest", help="torch.set_float32_matmul_precision")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--sparse", action="store_true", help="sparse gradients of the table, and SparseAdam for it")
    parser.add_argument("--compile", action="store_true", help="torch.compile for forward and backward")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    torch.set_float32_matmul_precision(options.precision)
    torch.set_flush_denormal(True)

    tensors, metadata = peer.read_safetensors(options.dump)
    fields = metadata["fields"].split(",")
    model = MaskNet(tensors, fields, options.sparse)
    numbers = range(int(metadata["batches"]))
    batches = [(read_ids(tensors, model, fields, n), torch.tensor(tensors[f"batch/{n}/label"])) for n in numbers]
    del tensors
    loss_of = model
    if options.compile and options.sparse:
        # Sparse gradients can't be compiled; the rest can.
        model.loss = torch.compile(model.loss, dynamic=False)
    elif options.compile:
        loss_of = torch.compile(model, dynamic=False)
    dense = [parameter for name, parameter in model.named_parameters() if not name.startswith("lookup")]
    adam = torch.optim.Adam(dense, lr=LEARNING_RATE, betas=BETAS, eps=ADAM_EPSILON, fused=True)
    optimizers = [adam]
    if options.sparse:
        # Its epsilon is where TensorFlow has it.
        optimizers.append(torch.optim.SparseAdam(model.lookup.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=ADAM_EPSILON))
    done = 0

    def step():
        nonlocal done
        ids, labels = batches[done % len(batches)]
        done += 1
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bf16):
            loss = loss_of(ids, labels)
        loss.backward()
        if not options.sparse:
            model.table.grad[model.padding].zero_()
        # TensorFlow adds epsilon to sqrt(v), PyTorch to sqrt(v / (1 - beta2^t)): with this epsilon the two are the same.
        adam.param_groups[0]["eps"] = ADAM_EPSILON / math.sqrt(1 - BETAS[1] ** done)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss

    losses = [step().item() for _ in range(LOSS_STEPS)]
    print(json.dumps({"losses": losses, "version": torch.__version__}), flush=True)
    rows = len(batches[0][1])
    for line in sys.stdin:
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < float(line):
            step()
            steps += 1
        speed = steps * rows / (time.perf_counter() - start)
        print(json.dumps({"samples_per_second": round(speed)}), flush=True)


if __name__ == "__main__":
    main()
