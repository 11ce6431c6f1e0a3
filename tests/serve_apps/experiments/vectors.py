"""GrowthBook's public test vectors for SDK builders, as facts: the sections of `cases.json` about bucketing.

Source: growthbook/growthbook `packages/sdk-js/test/cases.json`, the same in growthbook/growthbook-python
`tests/cases.json` (specification of the hash, ranges, choice and namespaces; read on 2026-11-25).
"""

HASH = [  # seed, value, version, place
    ("", "a", 1, 0.22),
    ("", "b", 1, 0.077),
    ("b", "a", 1, 0.946),
    ("ef", "d", 1, 0.652),
    ("asdf", "8952klfjas09ujk", 1, 0.549),
    ("", "123", 1, 0.011),
    ("", '___)((*":&', 1, 0.563),
    ("seed", "a", 2, 0.0505),
    ("seed", "b", 2, 0.2696),
    ("foo", "ab", 2, 0.2575),
    ("foo", "def", 2, 0.2019),
    ("89123klj", "8952klfjas09ujkasdf", 2, 0.124),
    ("90850943850283058242805", "123", 2, 0.7516),
    ("()**(%$##$%#$#", '___)((*":&', 2, 0.0128),
    ("abc", "def", 99, None),
]

BUCKET_RANGES = [  # name, (count, coverage, weights), ranges
    ("normal 50/50", (2, 1, None), [(0, 0.5), (0.5, 1)]),
    ("reduced coverage", (2, 0.5, None), [(0, 0.25), (0.5, 0.75)]),
    ("zero coverage", (2, 0, None), [(0, 0), (0.5, 0.5)]),
    ("4 variations", (4, 1, None), [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]),
    ("uneven weights", (2, 1, [0.4, 0.6]), [(0, 0.4), (0.4, 1)]),
    ("uneven weights, 3 variations", (3, 1, [0.2, 0.3, 0.5]), [(0, 0.2), (0.2, 0.5), (0.5, 1)]),
    (
        "uneven weights, reduced coverage, 3 variations",
        (3, 0.2, [0.2, 0.3, 0.5]),
        [(0, 0.04), (0.2, 0.26), (0.5, 0.6)],
    ),
    ("negative coverage", (2, -0.2, None), [(0, 0), (0.5, 0.5)]),
    ("coverage above 1", (2, 1.5, None), [(0, 0.5), (0.5, 1)]),
    ("weights sum below 1", (2, 1, [0.4, 0.1]), [(0, 0.5), (0.5, 1)]),
    ("weights sum above 1", (2, 1, [0.7, 0.6]), [(0, 0.5), (0.5, 1)]),
    (
        "weights.length not equal to num variations",
        (4, 1, [0.4, 0.4, 0.2]),
        [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)],
    ),
    ("weights sum almost equals 1", (2, 1, [0.4, 0.5999]), [(0, 0.4), (0.4, 0.9999)]),
]

_EVEN = [(0, 0.5), (0.5, 1)]
_REDUCED = [(0, 0.25), (0.5, 0.75)]

CHOOSE_VARIATION = [  # name, place, ranges, index
    ("even range, 0.2", 0.2, _EVEN, 0),
    ("even range, 0.4", 0.4, _EVEN, 0),
    ("even range, 0.6", 0.6, _EVEN, 1),
    ("even range, 0.8", 0.8, _EVEN, 1),
    ("even range, 0", 0, _EVEN, 0),
    ("even range, 0.5", 0.5, _EVEN, 1),
    ("reduced range, 0.2", 0.2, _REDUCED, 0),
    ("reduced range, 0.4", 0.4, _REDUCED, -1),
    ("reduced range, 0.6", 0.6, _REDUCED, 1),
    ("reduced range, 0.8", 0.8, _REDUCED, -1),
    ("reduced range, 0.25", 0.25, _REDUCED, -1),
    ("reduced range, 0.5", 0.5, _REDUCED, 1),
    ("zero range", 0.5, [(0, 0.5), (0.5, 0.5), (0.5, 1)], 2),
]

_LOW, _HIGH = (0, 0.4), (0.4, 1)

IN_NAMESPACE = [  # unit, namespace, part, is in it
    ("1", "namespace1", _LOW, False),
    ("1", "namespace1", _HIGH, True),
    ("1", "namespace2", _LOW, False),
    ("1", "namespace2", _HIGH, True),
    ("2", "namespace1", _LOW, False),
    ("2", "namespace1", _HIGH, True),
    ("2", "namespace2", _LOW, False),
    ("2", "namespace2", _HIGH, True),
    ("3", "namespace1", _LOW, False),
    ("3", "namespace1", _HIGH, True),
    ("3", "namespace2", _LOW, True),
    ("3", "namespace2", _HIGH, False),
    ("4", "namespace1", _LOW, False),
    ("4", "namespace1", _HIGH, True),
    ("4", "namespace2", _LOW, True),
    ("4", "namespace2", _HIGH, False),
]

EQUAL_WEIGHTS = [
    (-1, []),
    (0, []),
    (1, [1]),
    (2, [0.5, 0.5]),
    (3, [0.33333333, 0.33333333, 0.33333333]),
    (4, [0.25, 0.25, 0.25, 0.25]),
]

RUNS = [  # name, unit, experiment (key, seed, hash version, count, coverage, weights), index or None
    ("uses seed with default weights/coverage", "1", ("key", "foo", 2, 2, 1.0, None), 1),
    ("uses seed with weights/coverage", "1", ("key", "foo", 2, 2, 0.99, [0.5, 0.5]), 1),
    ("empty experiment rule - c", "123", ("feature", "feature", 1, 3, 1.0, None), 2),
    ("empty experiment rule - a", "456", ("feature", "feature", 1, 3, 1.0, None), 0),
    ("empty experiment rule - b", "fds", ("feature", "feature", 1, 3, 1.0, None), 1),
    ("skips experiment on coverage", "123", ("feature", "feature", 1, 4, 0.01, None), None),
]
