#!/usr/bin/env python3
"""A key in sixteen parts, sent to or received from Undertone by a program that shares no code with it (rule RKX-1).

    raida_sixteen.py --swarm swarm.toml --wallet 1.keys send --to 00.28 --key 0707...
    raida_sixteen.py --swarm swarm.toml --wallet 1.keys listen      prints `listening`, then the key
"""

import argparse
import hashlib
import hmac
import ipaddress
import os
import socket
import struct
import sys
import tomllib

from raida import ALERT, END, GET, POST, TAGGED, Coin, Node, Wrong, ctr, get, post

# Of the grid of five by five the lower four rows, and of those the left four columns.
PLACES = [5 * row + column for row in range(1, 5) for column in range(4)]


class Swarm:
    def __init__(self, description, wallet):
        with open(description, "rb") as file:
            nodes = tomllib.load(file)["node"]
        self.nodes = {node["raida"]: Node(node["address"], node["raida"], False) for node in nodes}
        with open(wallet, encoding="ascii") as lines:
            self.keys = {(name, int(raida)): bytes.fromhex(key) for name, raida, key in map(str.split, lines)}
        self.mine = next(name for name, _ in self.keys)

    def me(self, raida):
        return Coin(self.mine, self.keys[self.mine, raida])

    def at(self, address):
        return next(node for node in self.nodes.values() if node.address == address)


def part(key_id, address, sender, receiver):
    host = ipaddress.IPv6Address("::ffff:" + address[0]).packed
    return key_id + host + struct.pack(">H", address[1]) + sender + receiver


def send(swarm, to, key):
    if not key or len(key) % 16:
        raise Wrong("sixteen parts of one size make a key")
    size, receiver, parts = len(key) // 16, Coin(to, b"").name, b""
    for at, raida in enumerate(PLACES):
        node, me, key_id = swarm.nodes[raida], swarm.me(raida), os.urandom(16)
        payload = post(key_id, receiver, key[at * size : (at + 1) * size])
        node.expect("a part", 250, POST, payload, TAGGED, [me])
        parts += part(key_id, node.address, me.name, receiver)
    node = swarm.nodes[PLACES[0]]
    node.expect("the alert", 250, ALERT, parts, TAGGED, [swarm.me(node.raida)])


def told(swarm, node):
    """Says at one node where it listens, and waits for what that has to tell."""
    me = swarm.me(node.raida)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.settimeout(30)
        request, way = node.request(ALERT, part(bytes(16), ("0.0.0.0", 0), me.name, me.name), TAGGED, [me])
        ear.sendto(request, node.address)
        status, _ = node.read(ear.recv(65536), way)
        if status != 250:
            raise Wrong(f"listening: status {status}")
        print("listening", flush=True)
        alert = ear.recv(65536)
    key = hashlib.sha256(me.key).digest()
    sealed, tag = alert[48:-34], alert[-34:-2]
    if (alert[2], alert[4], alert[5], alert[16], alert[19:24]) != (node.raida, *ALERT, TAGGED, me.name):
        raise Wrong("what was told is no alert for this coin")
    if alert[-2:] != END or hmac.new(key, sealed, hashlib.sha256).digest() != tag:
        raise Wrong("what was told has not the coin's tag")
    return ctr(key, alert[24:40], sealed)


def received(swarm, node):
    parts, key = told(swarm, node), b""
    if len(parts) != 16 * 44:
        raise Wrong(f"{len(parts)} bytes are no sixteen parts")
    for at in range(0, len(parts), 44):
        key_id, host, port = parts[at : at + 16], parts[at + 16 : at + 32], parts[at + 32 : at + 34]
        address = str(ipaddress.IPv6Address(host).ipv4_mapped), int.from_bytes(port, "big")
        there = swarm.at(address)
        if there.raida != PLACES[at // 44]:
            raise Wrong(f"part {at // 44} is at node {there.raida}")
        me = swarm.me(there.raida)
        answer = there.expect("a part", 250, GET, get(key_id), TAGGED, [me])
        if answer[:5] != me.name:
            raise Wrong("a part for somebody else")
        key += answer[5:]
    return key


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--swarm", required=True)
    options.add_argument("--wallet", required=True)
    commands = options.add_subparsers(dest="command", required=True)
    sends = commands.add_parser("send")
    sends.add_argument("--to", required=True)
    sends.add_argument("--key", required=True, type=bytes.fromhex)
    commands.add_parser("listen")
    given = options.parse_args()
    swarm = Swarm(given.swarm, given.wallet)
    try:
        if given.command == "send":
            send(swarm, given.to, given.key)
        else:
            print(received(swarm, swarm.nodes[PLACES[0]]).hex())
    except (Wrong, OSError) as wrong:
        print(wrong, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
