"""Requests of candidates of one user on MovieLens rows, in every form that `rankmill serve` and its peers take, and the probabilities in
their answers. Needs the standard library only.
"""

import json
import random
import struct

FIELDS = "label user_id movie_id rating gender age job_id zip_id title genres year".split()
USER, FILM = ["user_id", "gender", "age", "job_id"], ["movie_id", "genres", "year"]
INTEGERS = {"user_id", "movie_id", "gender", "age", "job_id"}


def typed(field, text):
    return int(text) if field in INTEGERS else text


class Case:
    """Requests: a user each, and films that are drawn at random."""

    def __init__(self, data, requests, candidates):
        rows = [dict(zip(FIELDS, line.rstrip("\n").split("\t"))) for line in (data / "movies_test_data").open()]
        train = [dict(zip(FIELDS, line.rstrip("\n").split("\t"))) for line in (data / "movies_train_data").open()]
        pick = random.Random(1)
        users = list({row["user_id"]: row for row in rows}.values())
        films = list({row["movie_id"]: row for row in rows}.values())
        self.requests = [(pick.choice(users), [pick.choice(films) for _ in range(candidates)]) for _ in range(requests)]
        own = set(FILM) | {"title"}
        self.rows = [
            [(film if field in own else user)[field] for field in FIELDS] for user, candidates in self.requests for film in candidates
        ]
        # Every value of each field: what a Python service would have ready.
        self.values = {field: sorted({typed(field, row[field]) for row in [*rows, *train]}) for field in USER + FILM}

    def http(self, path, bodies, head=""):
        """Whole requests."""
        for body in bodies:
            body = body if isinstance(body, bytes) else body.encode()
            first = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{head}Content-Length: {len(body)}\r\n\r\n"
            yield first.encode() + body

    def columns(self):
        """The user's fields once, a list for each field of the films."""
        for user, films in self.requests:
            columns = {field: typed(field, user[field]) for field in USER}
            columns |= {field: [typed(field, film[field]) for film in films] for field in FILM}
            yield json.dumps(columns).encode()

    def score(self, with_context):
        """`POST /score`: rows as objects, the user's fields in a context or in all of them."""
        for user, films in self.requests:
            context = {field: typed(field, user[field]) for field in USER}
            rows = [{field: typed(field, film[field]) for field in FILM} for film in films]
            yield json.dumps({"context": context, "rows": rows} if with_context else {"rows": [context | row for row in rows]}).encode()

    def tensors(self):
        """Name, datatype and values of each input; those of the user have one row."""
        for user, films in self.requests:
            inputs = []
            for field in USER + FILM:
                rows = [user] if field in USER else films
                inputs.append((field, "INT32" if field in INTEGERS else "BYTES", [typed(field, row[field]) for row in rows]))
            yield inputs

    def kserve(self):
        """KServe's JSON."""
        for tensors in self.tensors():
            inputs = [{"name": name, "shape": [len(values)], "datatype": kind, "data": values} for name, kind, values in tensors]
            yield json.dumps({"inputs": inputs, "outputs": [{"name": "probs"}]}).encode()

    def binary(self, path):
        """KServe's JSON with binary tensors behind it."""
        for tensors in self.tensors():
            data = [raw(kind, values) for _, kind, values in tensors]
            inputs = [
                {"name": name, "shape": [len(values)], "datatype": kind, "parameters": {"binary_data_size": len(own)}}
                for (name, kind, values), own in zip(tensors, data)
            ]
            outputs = [{"name": "probs", "parameters": {"binary_data": True}}]
            head = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
            yield from self.http(path, [head + b"".join(data)], f"Inference-Header-Content-Length: {len(head)}\r\n")

    def grpc(self):
        """Messages ModelInferRequest."""
        for tensors in self.tensors():
            message = part(1, b"ctr")
            for name, kind, values in tensors:
                message += part(5, part(1, name.encode()) + part(2, kind.encode()) + part(3, varint(len(values))))
            message += part(6, part(1, b"probs"))
            yield message + b"".join(part(7, raw(kind, values)) for _, kind, values in tensors)


def raw(kind, values):
    if kind == "INT32":
        return struct.pack(f"<{len(values)}i", *values)
    texts = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def varint(number):
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def part(field, content):
    """A field of a protocol buffer with a length."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def parts(message):
    """The fields with a length of a protocol buffer."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        if key & 7 != 2:
            raise ValueError("a field that no answer has")
        length = number()
        yield key >> 3, message[at : at + length]
        at += length


def numbers(data):
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def single(values):
    """Rounded to single precision, which the text of a number stands for."""
    return numbers(struct.pack(f"<{len(values)}f", *values))


def probabilities(body):
    """The probabilities of an answer, whatever its form."""
    if not body.startswith(b"{"):
        return next(numbers(content) for field, content in parts(body) if field == 6)
    answer, end = json.JSONDecoder().raw_decode(body.decode("latin1"))
    if "scores" in answer:
        return single([row["probs"] for row in answer["scores"]])
    if "probs" in answer:
        return single(answer["probs"])
    (output,) = answer["outputs"]
    return single(output["data"]) if "data" in output else numbers(body[end:])


def messages(data):
    """Messages that stand behind their lengths in four bytes."""
    found, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found
