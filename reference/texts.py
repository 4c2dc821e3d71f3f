"""What components make of texts, written from their meaning alone: plain Python on `str`.

    python reference/texts.py > crates/data/tests/data/texts.json

Every case holds two texts, the settings of a component, and its numbers. Needs nothing but Python.
"""

import itertools
import json
import random
import sys
import unicodedata

random.seed(20240612)
WORDS = ["red", "Red", "hat", "x1", "中文", "ＡＢＣ", "old-hat", "", "blue", "shoe!"]


def levenshtein(a, b):
    """By recursion over beginnings, as it is defined."""
    known = {}

    def distance(i, j):
        if i == 0 or j == 0:
            return i + j
        if (i, j) not in known:
            replaced = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
            known[i, j] = min(replaced, distance(i - 1, j) + 1, distance(i, j - 1) + 1)
        return known[i, j]

    return distance(len(a), len(b))


def words(text, separator):
    return [word for word in text.split(separator) if word]


def overlap(query, title, separator, default):
    query, title = words(query, separator), words(title, separator)
    if not query or not title:
        return [default] * 4
    common = set(query) & set(title)
    is_subsequence = any(list(chosen) == query for chosen in itertools.combinations(title, len(query)))
    return [len(common) / len(set(query)), len(common) / len(set(title)), float(is_subsequence), float(query == title)]


def vector(text, separator):
    entries = {}
    for word in words(text, separator):
        key, colon, number = word.rpartition(":")
        try:
            key, number = (key, float(number)) if colon else (word, 1.0)
        except ValueError:
            key, number = word, 1.0
        entries[key] = entries.get(key, 0.0) + number
    return entries


def product(query, document, separator, default):
    query, document = vector(query, separator), vector(document, separator)
    if not query or not document:
        return default
    return sum(number * document.get(key, 0.0) for key, number in query.items())


def normalized(text, parameter, remove_space):
    if parameter & 8:
        text = "".join(unicodedata.normalize("NFKC", c) if "！" <= c <= "～" or c == "\u3000" else c for c in text)
    if remove_space:
        text = "".join(c for c in text if not c.isspace())
    if parameter & 32:
        text = "".join(c for c in text if c.isalnum() or c.isspace())
    if parameter & 512:
        text = " ".join("".join(f" {c} " if "\u4e00" <= c <= "\u9fff" else c for c in text).split())
    if parameter & 2:
        text = text.upper()
    elif parameter & 4:
        text = text.lower()
    return text


def text(separator, most=5):
    return separator.join(random.choice(WORDS) for _ in range(random.randint(0, most)))


def vector_text():
    entry = lambda: random.choice("abcd") + random.choice(["", ":0.5", ":2", ":-1.5", ":x"])
    return "|".join(entry() for _ in range(random.randint(0, 4)))


def cases():
    for _ in range(40):
        a, b = text(" "), text(" ")
        yield {"kind": "edit_distance", "texts": [a, b], "numbers": [levenshtein(a, b)]}
        yield {"kind": "overlap", "texts": [a, b], "numbers": overlap(a, b, " ", -1.0)}
        a, b = vector_text(), vector_text()
        yield {"kind": "dot_product", "texts": [a, b], "numbers": [product(a, b, "|", -2.0)]}
    for parameter in (0, 2, 4, 8, 12, 32, 44, 512, 552):
        for remove_space in (False, True):
            a, b = text("\u3000", 6), text(" ", 6)
            a_n, b_n = (normalized(x, parameter, remove_space) for x in (a, b))
            yield {"kind": "normalize", "texts": [a, b], "parameter": parameter, "remove_space": remove_space, "numbers": [],
                   "normalized": [a_n, b_n]}


if __name__ == "__main__":
    json.dump({"script": "reference/texts.py", "cases": list(cases())}, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
