"""Turns rows of text into the inputs of an ONNX model that `rankmill export` wrote.

    import onnxruntime
    from rankmill_features import Features

    session = onnxruntime.InferenceSession("model.onnx")
    features = Features.of(session)
    rows = [{"user_id": "1193", "genres": "Drama|Comedy", "price": "3.5"}]
    probs, = session.run(["probs"], features.feed(rows))

The model carries the settings of its fields and features in its metadata; this file follows them, step by step as Rankmill
does. It needs NumPy only. Rows are dictionaries from field names to texts (a field that is not there is empty), or lists of
texts in the order of `data_config.input_fields`. A row that breaks a rule raises ValueError.
"""

import json
import re
from functools import lru_cache

import numpy as np

_MASK = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def _fetch64(s, at):
    return int.from_bytes(s[at : at + 8], "little")


def _fetch32(s, at):
    return int.from_bytes(s[at : at + 4], "little")


def _rotate(value, shift):
    value &= _MASK
    return (value >> shift | value << (64 - shift)) & _MASK


def _shift_mix(value):
    value &= _MASK
    return value ^ value >> 47


def _mix_pair(u, v, mul):
    a = _shift_mix((u ^ v) * mul)
    return _shift_mix((v ^ a) * mul) * mul & _MASK


def _weak_32(s, at, a, b):
    z = _fetch64(s, at + 24)
    a += _fetch64(s, at)
    b = _rotate(b + a + z, 21)
    c = a
    a += _fetch64(s, at + 8) + _fetch64(s, at + 16)
    b += _rotate(a, 44)
    return a + z & _MASK, b + c & _MASK


def _mix_block(state, s, at, mul, scale):
    x, y, z, v, w = state
    x = _rotate(x + y + v[0] + _fetch64(s, at + 8), 37) * mul
    y = _rotate(y + v[1] + _fetch64(s, at + 48), 42) * mul
    x = (x ^ w[1] * scale) & _MASK
    y = y + v[0] * scale + _fetch64(s, at + 40) & _MASK
    z = _rotate(z + w[0], 33) * mul & _MASK
    v = _weak_32(s, at, v[1] * mul, x + w[0])
    w = _weak_32(s, at + 32, z + w[1], y + _fetch64(s, at + 16))
    return z, y, x, v, w


@lru_cache(maxsize=1 << 20)
def fingerprint64(s):
    """FarmHash's Fingerprint64 of bytes."""
    n = len(s)
    mul = _K2 + n * 2
    if n <= 16:
        if n >= 8:
            a, b = _fetch64(s, 0) + _K2, _fetch64(s, n - 8)
            c = _rotate(b, 37) * mul + a
            d = (_rotate(a, 25) + b) * mul
            return _mix_pair(c & _MASK, d & _MASK, mul)
        if n >= 4:
            return _mix_pair(n + (_fetch32(s, 0) << 3), _fetch32(s, n - 4), mul)
        if n > 0:
            y, z = s[0] + (s[n >> 1] << 8), n + (s[n - 1] << 2)
            return _shift_mix(y * _K2 ^ z * _K0) * _K2 & _MASK
        return _K2
    if n <= 32:
        a, b = _fetch64(s, 0) * _K1, _fetch64(s, 8)
        c, d = _fetch64(s, n - 8) * mul, _fetch64(s, n - 16) * _K2
        u = _rotate(a + b, 43) + _rotate(c, 30) + d
        return _mix_pair(u & _MASK, a + _rotate(b + _K2, 18) + c & _MASK, mul)
    if n <= 64:
        a, b = _fetch64(s, 0) * _K2, _fetch64(s, 8)
        c, d = _fetch64(s, n - 8) * mul, _fetch64(s, n - 16) * _K2
        y = _rotate(a + b, 43) + _rotate(c, 30) + d & _MASK
        z = _mix_pair(y, a + _rotate(b + _K2, 18) + c & _MASK, mul)
        e, f = _fetch64(s, 16) * mul, _fetch64(s, 24)
        g, h = (y + _fetch64(s, n - 32)) * mul, (z + _fetch64(s, n - 24)) * mul
        u = _rotate(e + f, 43) + _rotate(g, 30) + h
        return _mix_pair(u & _MASK, e + _rotate(f + a, 18) + g & _MASK, mul)
    y = 81 * _K1 + 113 & _MASK
    z = _shift_mix(y * _K2 + 113) * _K2 & _MASK
    state = (81 * _K2 + _fetch64(s, 0) & _MASK, y, z, (0, 0), (0, 0))
    for block in range((n - 1) // 64):
        state = _mix_block(state, s, block * 64, _K1, 1)
    x, y, z, v, w = state
    mul = _K1 + ((z & 0xFF) << 1)
    w = (w[0] + (n - 1 & 63), w[1])
    v = (v[0] + w[0] & _MASK, v[1])
    w = (w[0] + v[0] & _MASK, w[1])
    x, y, z, v, w = _mix_block((x, y, z, v, w), s, n - 64, mul, 9)
    u = _mix_pair(v[0], w[0], mul) + _shift_mix(y) * _K0 + z
    return _mix_pair(u & _MASK, _mix_pair(v[1], w[1], mul) + x & _MASK, mul)


def _bytes(text):
    return text.encode() if isinstance(text, str) else bytes(text)


_BLANKS = b" \t\n\x0b\x0c\r"
_FLOAT = re.compile(rb"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def parse_int(text, bits):
    """A whole number by TensorFlow's rules, or None."""
    text = text.strip(_BLANKS)
    if not re.fullmatch(rb"-?[0-9]+", text):
        return None
    value = int(text)
    return value if -(1 << bits - 1) <= value < 1 << bits - 1 else None


def parse_float(text):
    """A floating-point number by TensorFlow's rules, or None."""
    if not 0 < len(text) < 32:
        return None
    text = text.strip(_BLANKS)
    if not text:
        return 0.0
    sign = -1.0 if text.startswith(b"-") else 1.0
    number = text[1:] if text[:1] in (b"-", b"+") else text
    if number.lower() in (b"inf", b"nan"):
        return sign * float(number)
    if re.fullmatch(rb"0[xX][0-9a-fA-F]+", number):
        return sign * float(int(number, 16))
    return sign * float(number) if _FLOAT.fullmatch(number) else None


def parse_bool(text):
    """A truth value as 0 or 1 by TensorFlow's rules, or None."""
    return {b"1": 1, b"true": 1, b"0": 0, b"false": 0}.get(text.strip(_BLANKS).lower())


def split(text, separator):
    """The parts of a text that are not empty, cut at every one of the separator's bytes; without a separator the bytes."""
    if not separator:
        return [text[i : i + 1] for i in range(len(text))]
    return [part for part in re.split(b"[" + re.escape(separator) + b"]", text) if part]


def _relu(x):
    return np.maximum(x, np.float32(0))


def _sigmoid(x):
    return np.float32(1) / (np.float32(1) + np.exp(-x))


_NORMALIZERS = {
    "log1p": np.log1p,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "exp": np.exp,
    "abs": np.abs,
    "square": np.square,
    "relu": _relu,
    "sign": np.sign,
    "expm1": np.expm1,
}


class _Rule:
    """From a text or a whole number to an id."""

    def __init__(self, rule):
        (self.kind, setting), = rule.items()
        self.buckets = setting if self.kind != "vocabulary" else None
        self.places = {_bytes(word): place for place, word in enumerate(setting)} if self.kind == "vocabulary" else None

    def of_text(self, text):
        if self.kind == "hash":
            return fingerprint64(text) % self.buckets
        if self.kind == "vocabulary":
            return self.places.get(text, 0)
        value = parse_int(text, 32)
        if value is None:
            raise ValueError(f"{text!r} is no INT32")
        return self.of_number(value)

    def of_number(self, value):
        return value if 0 <= value < self.buckets else 0


class Features:
    """The inputs of a model, by its recipe."""

    def __init__(self, recipe, inputs=None):
        """`recipe` is the metadata entry `rankmill.features`; `inputs` are the inputs that are wanted, or all."""
        recipe = json.loads(recipe)
        if recipe["format"] != 1:
            raise ValueError(f"this recipe has format {recipe['format']}; 1 is read")
        self.fields = recipe["fields"]
        self.features = recipe["features"]
        self.inputs = inputs
        self._fields = {field["name"]: field for field in self.fields}
        self._rules = {feature["name"]: _Rule(feature["rule"]) for feature in self.features if "rule" in feature}

    @classmethod
    def of(cls, session):
        """The inputs of an `onnxruntime.InferenceSession`."""
        recipe = session.get_modelmeta().custom_metadata_map["rankmill.features"]
        return cls(recipe, [entry.name for entry in session.get_inputs()])

    def feed(self, rows):
        """The inputs for rows: a dictionary from names to arrays."""
        rows = [row if isinstance(row, dict) else dict(zip(self._fields, row)) for row in rows]
        feed = {}
        for feature in self.features:
            feed.update(self.columns(feature, rows))
        return {name: array for name, array in feed.items() if self.inputs is None or name in self.inputs}

    def columns(self, feature, rows):
        """The inputs of one feature of the recipe."""
        name, kind = feature["name"], feature["kind"]
        values = [self._values(field, rows) for field in feature["inputs"]] if kind != "other" else []
        if kind == "id":
            return {f"{name}_ids": np.array([self._id(feature, value) for value in values[0]], np.int64).reshape(-1, 1)}
        if kind == "tag":
            return self._tags(feature, values)
        if kind == "raw":
            return self._numbers(feature, values[0])
        raise ValueError(f"no recipe describes feature `{name}`; make its inputs with Rankmill")

    def _values(self, name, rows):
        """The values of a field, by its type: bytes, int, or a float of its precision."""
        field = self._fields[name]
        kind, default = field["type"], field["default"]
        parse = {
            "INT32": lambda text: parse_int(text, 32),
            "INT64": lambda text: parse_int(text, 64),
            "BOOL": parse_bool,
            "FLOAT": parse_float,
            "DOUBLE": parse_float,
        }.get(kind)
        values = []
        for row in rows:
            text = _bytes(row.get(name, b""))
            if not text and default is None:
                raise ValueError(f"field `{name}` is empty")
            if parse is None:
                values.append(text or _bytes(default))
                continue
            value = parse(text) if text else (float(default) if kind in ("FLOAT", "DOUBLE") else int(default))
            if value is None:
                raise ValueError(f"field `{name}`: {text!r} is no {kind}")
            values.append(np.float32(value) if kind == "FLOAT" else value)
        return values

    def _is_bool(self, feature):
        return self._fields[feature["inputs"][0]]["type"] == "BOOL"

    def _id(self, feature, value):
        rule = self._rules[feature["name"]]
        if isinstance(value, bytes):
            is_missing = not value or rule.kind == "number" and parse_int(value, 32) == -1
            return -1 if is_missing else rule.of_text(value)
        if isinstance(value, (float, np.floating)):
            return rule.of_text(_bytes(f"{float(value):.{feature['precision']}f}"))
        if rule.kind == "number":
            return -1 if value == -1 else rule.of_number(value)
        return rule.of_text((b"false", b"true")[value] if self._is_bool(feature) else _bytes(str(value)))

    def _tags(self, feature, values):
        name, combiner = feature["name"], feature["combiner"]
        rule, separator = self._rules[name], _bytes(feature["separator"])
        ids, weights = [], []
        for at, text in enumerate(values[0]):
            tags = split(text if isinstance(text, bytes) else _bytes(str(text)), separator)
            if feature["kv_separator"] is not None:
                pairs = [re.split(b"[" + re.escape(_bytes(feature["kv_separator"])) + b"]", tag) for tag in tags]
                if any(len(pair) != 2 for pair in pairs):
                    raise ValueError(f"feature `{name}`: a tag of {text!r} is not a key and a weight")
                tags = [key for key, _ in pairs]
                weights.append([_weight(name, weight) for _, weight in pairs])
            elif len(values) == 2:
                given = values[1][at]
                parts = split(given, separator) if isinstance(given, bytes) else [given]
                weights.append([_weight(name, part) for part in parts])
                if len(weights[-1]) != len(tags):
                    raise ValueError(f"feature `{name}`: {len(weights[-1])} weights for {len(tags)} ids")
            ids.append([rule.of_text(tag) for tag in tags])
        return _padded(name, ids, weights if feature["kv_separator"] is not None or len(values) == 2 else None, combiner)

    def _numbers(self, feature, values):
        name, width, output = feature["name"], feature["width"], feature["output"]
        numbers = np.zeros((len(values), width), np.float32)
        for at, value in enumerate(values):
            parts = [value]
            if isinstance(value, bytes) and width > 1:
                parts = split(value, _bytes(feature["separator"]))
                if len(parts) > width:
                    raise ValueError(f"feature `{name}`: {len(parts)} numbers; {width} are taken")
            numbers[at, : len(parts)] = [_weight(name, part) for part in parts]
        if feature["range"] is not None:
            low, span = (np.float32(number) for number in feature["range"])
            numbers = (numbers - low) / span
        if feature["normalizer"] is not None:
            numbers = _NORMALIZERS[feature["normalizer"].rsplit(".", 1)[1]](numbers)
        if output == "dense":
            return {name: numbers}
        (kind, setting), = output.items()
        if kind == "buckets":
            boundaries = np.array(setting, np.float32)
            first = np.arange(width) * (len(boundaries) + 1)
            return {f"{name}_ids": (first + np.searchsorted(boundaries, numbers, side="right")).astype(np.int64)}
        return _padded(name, [list(range(width))] * len(values), [list(row) for row in numbers], setting, width)


def _weight(name, value):
    number = parse_float(value) if isinstance(value, bytes) else value
    if number is None:
        raise ValueError(f"feature `{name}`: {value!r} is no number")
    return np.float32(number)


def _padded(name, ids, weights, combiner, width=None):
    """Ids of different counts as one array, filled up with -1; `mean` and `sqrtn` leave out weights that are not above 0."""
    if weights is not None and combiner != "sum":
        kept = [[weight > 0 for weight in row] for row in weights]
        ids = [[i for i, keep in zip(row, keeps) if keep] for row, keeps in zip(ids, kept)]
        weights = [[weight for weight, keep in zip(row, keeps) if keep] for row, keeps in zip(weights, kept)]
    width = max([width or 1, *map(len, ids)])
    columns = {f"{name}_ids": np.array([row + [-1] * (width - len(row)) for row in ids], np.int64).reshape(-1, width)}
    if weights is not None:
        columns[f"{name}_weights"] = np.array([row + [0] * (width - len(row)) for row in weights], np.float32).reshape(-1, width)
    return columns
