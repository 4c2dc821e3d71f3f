"""PyTorch's side of the comparison of scoring: the model of pytorch_masknet.py on the rows that `score_speed --dump` wrote."""

import torch

import peer
from pytorch_masknet import MaskNet, read_ids


class Probabilities(torch.nn.Module):
    """The model's output alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model.logits(self.model.group(ids)).sigmoid()


def main():
    parser = peer.scoring_parser()
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    torch.set_float32_matmul_precision("medium")
    torch.set_flush_denormal(True)

    tensors, metadata = peer.read_safetensors(options.dump)
    fields = metadata["fields"].split(",")
    model = MaskNet(tensors, fields).requires_grad_(False).eval()
    batches = [read_ids(tensors, model, fields, number) for number in range(int(metadata["batches"]))]
    del tensors
    score = Probabilities(model)
    if options.compile:
        score = torch.compile(score, dynamic=False)
    with torch.inference_mode():
        peer.answer(list(peer.pieces(batches, options.batch)), options.batch, score)


if __name__ == "__main__":
    main()
