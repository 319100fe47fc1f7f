#!/usr/bin/env python3
"""Tests of the auditor: known answers, and every case of a folder that the Rust tests wrote.

python -m unittest test_audit                     known answers alone
CASES=folder python -m unittest test_audit        and the cases
"""

import contextlib
import io
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import audit
from auditor import cbor, curve, lookup, merkle, note, tree
from auditor.fault import Fault, Malformed
from auditor.vrf import PublicKey


class KnownAnswers(unittest.TestCase):
    # RFC 9381, appendix B.3: public key, input, proof, output.
    VRF = [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d97"
            "27d2d0f9b005a6e456a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
            "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff"
            "66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed5933bf0864a62558b3ed7f2fea45c92a465"
            "301b3bbf5e3e54ddf2d935be3b67926da3ef39226bbc355bdc9850112c8f4b02",
            "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb"
            "5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031",
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf8096bb474e53895c362d8628ee9f9ea3c0"
            "e52c7a5c691b6c18c9979866568add7a2d41b00b05081ed0f58ee5e31b3a970e",
            "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c45"
            "2118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f",
        ),
    ]

    def test_kt_5_the_vrf_is_that_of_rfc_9381(self) -> None:
        for key, alpha, proof, beta in self.VRF:
            verify = PublicKey(bytes.fromhex(key)).verify
            good = bytes.fromhex(proof)
            self.assertEqual(verify(bytes.fromhex(alpha), good).hex(), beta)
            with self.assertRaises(Malformed):
                verify(b"another", good)
            for bit in range(0, 640, 13):
                bad = bytearray(good)
                bad[bit // 8] ^= 1 << bit % 8
                with self.assertRaises(Malformed):
                    verify(bytes.fromhex(alpha), bytes(bad))
            scalar = int.from_bytes(good[48:], "little") + curve.ORDER
            with self.assertRaises(Malformed):
                verify(bytes.fromhex(alpha), good[:48] + scalar.to_bytes(32, "little"))

    def test_kt_5_keys_of_small_order_are_none(self) -> None:
        for key in (bytes(32), b"\x01" + bytes(31), bytes.fromhex("ec" + "ff" * 30 + "7f"), b"\xff" * 32):
            with self.assertRaises(Malformed):
                PublicKey(key)

    def test_kt_1_a_key_of_small_order_signs_nothing(self) -> None:
        # The neutral point as key and as commitment, and the scalar zero: an equation that holds for every message.
        neutral = b"\x01" + bytes(31)
        self.assertFalse(curve.signed(neutral, b"anything", neutral + bytes(32)))

    def test_kt_6_marker_versions(self) -> None:
        # akd_core's own examples, of which the last is in the documentation of get_marker_versions.
        for version, due in [(1, []), (2, []), (3, [2]), (6, [4]), (8, [4]), (65, [16, 64]), (85, [16, 64, 80, 84])]:
            self.assertEqual(lookup.marker_versions(version), due)

    def test_kt_3_rfc_6962_trees(self) -> None:
        # The eight leaves and the root that the Certificate Transparency projects test with.
        leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
        hashes = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in leaves]
        root = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        self.assertEqual(merkle.root_of(hashes).hex(), root)

    def test_kt_4_proofs_of_every_small_tree(self) -> None:
        hashes = [merkle.leaf_hash(bytes([n])) for n in range(20)]
        roots = [merkle.root_of(hashes[:n]) for n in range(21)]

        def path(index: int, leaves: list[bytes]) -> list[bytes]:
            if len(leaves) == 1:
                return []
            left = 1 << (len(leaves) - 1).bit_length() - 1
            here, there = (leaves[:left], leaves[left:]) if index < left else (leaves[left:], leaves[:left])
            return path(index % left if index < left else index - left, here) + [merkle.root_of(there)]

        def subproof(old: int, leaves: list[bytes], is_root: bool) -> list[bytes]:
            if old == len(leaves):
                return [] if is_root else [merkle.root_of(leaves)]
            left = 1 << (len(leaves) - 1).bit_length() - 1
            if old <= left:
                return subproof(old, leaves[:left], is_root) + [merkle.root_of(leaves[left:])]
            return subproof(old - left, leaves[left:], False) + [merkle.root_of(leaves[:left])]

        for size in range(1, 21):
            for index in range(size):
                proof = path(index, hashes[:size])
                self.assertEqual(merkle.inclusion_root(index, size, hashes[index], proof), roots[size])
                with self.assertRaises(Malformed):
                    merkle.inclusion_root(index, size, hashes[index], proof + [hashes[0]])
            for old in range(1, size):
                proof = subproof(old, hashes[:size], True)
                self.assertEqual(merkle.consistency_roots(old, size, roots[old], proof), (roots[old], roots[size]))
                with self.assertRaises(Malformed):
                    merkle.consistency_roots(old, size, roots[old], proof[1:] if old & old - 1 else proof[:-1])

    def test_kt_1_verifier_keys(self) -> None:
        text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
        self.assertEqual(note.VerifierKey.parse(text, note.LOG).name, "example.com/foo")
        for bad in (text.replace("530d", "530e"), text.replace("foo", "fo"), text[:-1]):
            with self.assertRaises(Malformed):
                note.VerifierKey.parse(bad, note.LOG)
        with self.assertRaises(Malformed):
            note.VerifierKey.parse(text, note.WITNESS)

    def test_tile_paths(self) -> None:
        self.assertEqual(merkle.tile_path("0", 1234067, 256), "tile/0/x001/x234/067")
        self.assertEqual(merkle.tile_path("entries", 7, 3), "tile/entries/007.p/3")

    def test_one_value_has_one_encoding(self) -> None:
        for value in (0, 23, 24, 255, 256, 65535, 65536, 2**32, 2**64 - 1, b"", b"x" * 300, {0: 1, 7: b"a", 300: {}}):
            self.assertEqual(cbor.decode(cbor.encode(value)), value)
        for bad in (
            "1817",
            "1900ff",
            "1a0000ffff",
            "1b00000000ffffffff",
            "5f40ff",
            "9f00ff",
            "a200000000",
            "a201000000",
            "20",
            "c000",
            "f4",
            "f5",
            "fb0000000000000000",
            "0000",
            "",
            "41",
            "82",
            "6180",
            "9bffffffffffffffff",
            "81" * 40 + "00",
        ):
            with self.assertRaises(Malformed, msg=bad):
                cbor.decode(bytes.fromhex(bad))


def pack(nodes: list[tree.Node | None] | list[tree.Node]) -> bytes:
    data = b""
    for node in nodes:
        if node is None:
            data += bytes(2)
        else:
            width = (len(node.label) + 7) // 8
            label = int(node.label.ljust(8 * width, "0"), 2).to_bytes(width, "big")
            data += len(node.label).to_bytes(2, "big") + label + node.value
    return data


class Trees(unittest.TestCase):
    """What the cases of a real directory do not reach: shapes that no tree has."""

    PLACE = "1011" + "0" * 252

    def test_kt_6_only_children_that_part_from_the_place_exclude_it(self) -> None:
        def excluding(left: str, right: str) -> str:
            children = (tree.Node(label, bytes(32)) if label else None for label in (left, right))
            return tree.excluding_prefix(self.PLACE, *children)

        for left, right, prefix in [("100", "1010", "10"), ("0", "11", ""), ("00", "", ""), ("", "11", "")]:
            self.assertEqual(excluding(left, right), prefix)
        leads_there = [("0", "1"), ("0", "10"), ("100", "101"), ("", "101"), ("1010", "10110"), ("0", self.PLACE)]
        elsewhere = [("010", "011"), ("1100", "1101")]
        no_children = [("", ""), ("1010", "100"), ("10", "101"), ("11", ""), ("", "00"), ("100", "100")]
        for left, right in leads_there + elsewhere + no_children:
            with self.assertRaises(Malformed, msg=(left, right)):
                excluding(left, right)

    def test_kt_6_a_path_begins_at_the_root_and_descends(self) -> None:
        def root(*beside: str) -> bytes:
            path = [tree.Node(label, b"\1" * 32) if label else None for label in beside]
            return tree.path_root(path, self.PLACE, b"\2" * 32)

        nodes = [tree.Node(label, b"\1" * 32) for label in ("0", "100")] + [tree.Node(self.PLACE, b"\2" * 32)]
        self.assertEqual(root("0", "100"), tree.tree_root(nodes))
        self.assertEqual(root("", "100"), tree.tree_root(nodes[1:]))
        # Not from the root on, upwards, the same fork twice, above the place, the place itself, nothing at all.
        for wrong in [("100",), ("100", "0"), ("0", "00"), ("0", "101"), ("0", self.PLACE), ()]:
            with self.assertRaises(Malformed, msg=wrong):
                root(*wrong)
        with self.assertRaises(Malformed):
            tree.unpack_path(pack([nodes[0], None]))

    def test_kt_12_only_leaves_are_inserted(self) -> None:
        inner = tree.Node("1" * 8, b"\3" * 32)
        proof = cbor.encode({0: b"", 1: pack([inner])})
        end = tree.tree_root([tree.Node(inner.label, tree.leaf_value(inner.value, 1))])
        with self.assertRaises(Fault):
            tree.check_append_only(tree.EMPTY_ROOT, end, 1, proof)

    def test_kt_12_nodes_have_one_order_and_one_form(self) -> None:
        nodes = [tree.Node(label * 256, b"\3" * 32) for label in "01"]
        end = tree.tree_root([tree.Node(node.label, tree.leaf_value(node.value, 1)) for node in nodes])
        for packed, holds in [
            (pack(nodes), True),
            (pack(nodes[::-1]), False),
            (pack([*nodes, nodes[1]]), False),
            (pack([None, *nodes]), False),
            (pack(nodes) + b"\0", False),
            (pack(nodes)[:-1], False),
            (b"\x01\x01" + bytes(65), False),
            (b"\x00\x01\xc0" + bytes(32), False),
        ]:
            proof = cbor.encode({0: b"", 1: packed})
            if holds:
                self.assertEqual(tree.check_append_only(tree.EMPTY_ROOT, end, 1, proof), 2)
            else:
                with self.assertRaises(Fault):
                    tree.check_append_only(tree.EMPTY_ROOT, end, 1, proof)


def run(arguments: list[str]) -> tuple[int, str]:
    """The auditor's exit status and what it prints."""
    out = io.StringIO()
    arguments = ["audit.py", *arguments]
    with mock.patch.object(sys, "argv", arguments), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = audit.main()
    return status, out.getvalue()


@unittest.skipUnless("CASES" in os.environ, "no folder with cases")
class Cases(unittest.TestCase):
    folder = Path(os.environ.get("CASES", "."))

    def test_every_case(self) -> None:
        counts = {"ok": 0, "refused": 0}
        with tempfile.TemporaryDirectory() as scratch:
            for line in (self.folder / "cases.tsv").read_text().splitlines():
                name, verdict, *arguments = line.split("\t")
                with self.subTest(name):
                    self.check(name, verdict, arguments, Path(scratch), counts)
        print(counts)

    def check(self, name: str, verdict: str, given: list[str], scratch: Path, counts: dict[str, int]) -> None:
        arguments = [str(self.folder / one[1:]) if one.startswith("@") else one for one in given]
        if "--state" in arguments:
            # It is replaced in the end; the case is to be run again.
            place = arguments.index("--state") + 1
            copy = scratch / "state"
            copy.write_bytes(Path(arguments[place]).read_bytes())
            arguments[place] = str(copy)
        status, out = run(arguments)
        if os.environ.get("VERBOSE"):
            print(f"{name:45} {out.splitlines()[0][:180] if status else 'holds'}")
        if verdict.startswith("ok"):
            self.assertEqual(status, 0, out)
            lines = out.splitlines()
            expected = verdict.split()[1:]
            for key, value in zip(expected[::2], expected[1::2]):
                self.assertIn(f"{key} {value}", lines)
            counts["ok"] += 1
        else:
            self.assertEqual((status, out.split(":")[0], out.count("\n")), (1, verdict, 1), out)
            counts["refused"] += 1

    def test_marker_versions_are_those_of_rust(self) -> None:
        for line in (self.folder / "markers.txt").read_text().splitlines():
            version, due = line.split(":")
            self.assertEqual(lookup.marker_versions(int(version)), [int(one) for one in due.split(",") if one], version)


if __name__ == "__main__":
    unittest.main()
