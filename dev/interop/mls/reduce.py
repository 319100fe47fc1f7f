#!/usr/bin/env python3
"""Cuts the test vectors of the MLS working group down to what the tests of this crate run.

    git clone https://github.com/mlswg/mls-implementations
    reduce.py mls-implementations/test-vectors crates/groups/vectors/working-group

Values are never changed: cases, fields and elements of arrays are left out, and what is left is written one case a line.
"""
import json
import sys
from pathlib import Path

source, target = map(Path, sys.argv[1:])
SUITES = {1: "x25519", 2: "p256"}


def read(name):
    return json.loads((source / f"{name}.json").read_text())


def write(name, cases):
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    path = target / f"{name}.json"
    path.write_text(f"[\n{lines}\n]\n")
    print(path.name, len(cases), path.stat().st_size)


def only(case, fields):
    return {field: case[field] for field in fields}


def of_suites(name, suites=tuple(SUITES)):
    return [case for case in read(name) if case["cipher_suite"] in suites]


def three_of(case):
    """The first, the middle and the last update path of a tree."""
    last = len(case["update_paths"]) - 1
    return sorted({0, last // 2, last})


target.mkdir(parents=True, exist_ok=True)
for name in ["crypto-basics", "key-schedule", "message-protection", "passive-client-welcome", "tree-operations", "welcome"]:
    write(name, of_suites(name))
write("deserialization", read("deserialization"))
# One of each suite in it: a hundred of each are alike.
write("messages", read("messages")[::100])
for number, suite in SUITES.items():
    write(f"passive-client-handling-commit-{suite}", of_suites("passive-client-handling-commit", [number]))
# The first twenty of two hundred epochs.
write("passive-client-random", [{**case, "epochs": case["epochs"][:20]} for case in of_suites("passive-client-random")])
# Without the resolutions, which nothing outside of openmls can compare.
for number, suite in SUITES.items():
    trees = of_suites("tree-validation", [number])
    write(f"tree-validation-{suite}", [only(case, ["cipher_suite", "tree", "group_id", "tree_hashes"]) for case in trees])
# Without what only a member can compare, and with three update paths a tree.
write(
    "treekem",
    [
        {
            **only(case, ["cipher_suite", "confirmed_transcript_hash", "epoch", "group_id", "ratchet_tree"]),
            "leaves_private": [only(leaf, ["index", "signature_priv"]) for leaf in case["leaves_private"]],
            "update_paths": [
                only(case["update_paths"][at], ["sender", "update_path", "tree_hash_after"]) for at in three_of(case)
            ],
        }
        for case in of_suites("treekem")
    ],
)
