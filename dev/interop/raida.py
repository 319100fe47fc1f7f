"""A second client of the RAIDA key exchange: knows docs/spec/raida.md and none of Undertone's code.

    python raida.py --node 127.0.0.1:50014 --raida 14 --profile strict --keys FILE --own FILE

drives a node through every command, encryption type and status that can be had from outside, over UDP and TCP, and says what it saw.
--keys has the node's coins as `undertone-server raida coins create` writes them, three at least; --own is the file of the last of them, of
25 keys, which the node has too. Exit status 0: all as it should be; 1: one line says what was not.
"""

import argparse
import hashlib
import hmac
import os
import socket
import struct
import sys
import time
import zlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

END = b"\x3e\x3e"
NONE, COIN, LOCKER, TAGGED, TWO = 0, 1, 2, 4, 5
ECHO, POST, ALERT, GET, ENCRYPT, DECRYPT = (0, 0), (4, 41), (4, 42), (4, 43), (4, 44), (4, 45)


class Wrong(Exception):
    pass


def ctr(key, iv, text, block=0):
    counter = (int.from_bytes(iv, "big") + block) % (1 << 128)
    cipher = Cipher(algorithms.AES(key), modes.CTR(counter.to_bytes(16, "big"))).encryptor()
    return cipher.update(text) + cipher.finalize()


def ticket_key(key, iv):
    return hmac.new(key, b"undertone/RKX-3/ticket/v1\0" + iv, hashlib.sha256).digest()[:16]


def seal_ticket(strict, key, iv, text):
    if not strict:
        return ctr(key, iv, text)
    cipher = Cipher(algorithms.AES(ticket_key(key, iv)), modes.ECB()).encryptor()
    return cipher.update(text) + cipher.finalize()


def open_ticket(strict, key, iv, ticket):
    if not strict:
        return ctr(key, iv, ticket)
    cipher = Cipher(algorithms.AES(ticket_key(key, iv)), modes.ECB()).decryptor()
    return cipher.update(ticket) + cipher.finalize()


AHEAD = 0


def fresh():
    """A nonce that begins with the time, as strict nodes want it."""
    return struct.pack(">I", int(time.time()) + AHEAD) + os.urandom(20)


def challenge():
    drawn = os.urandom(12)
    return drawn + struct.pack(">I", zlib.crc32(drawn))


class Coin:
    def __init__(self, name, key):
        denomination, serial = name.split(".")
        self.text, self.key = name, key
        self.name = bytes([int(denomination, 16)]) + struct.pack(">I", int(serial))


class Node:
    def __init__(self, address, raida, restart):
        host, port = address.rsplit(":", 1)
        self.address, self.raida, self.restart = (host, int(port)), raida, restart
        self.tcp = False
        self.checks = 0

    def is_silent(self, request):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(0.2)
            datagrams.sendto(request, self.address)
            try:
                datagrams.recv(65536)
            except TimeoutError:
                return True
        return False

    def send(self, request):
        if self.tcp:
            with socket.create_connection(self.address, timeout=10) as stream:
                stream.sendall(request)
                reply = b""
                while part := stream.recv(4096):
                    reply += part
            return reply
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(10)
            datagrams.sendto(request, self.address)
            return datagrams.recv(65536)

    def request(self, command, payload, kind=NONE, coins=(), nonce=None, header=None):
        """Whole bytes of a request, and what its reply is opened with."""
        nonce = fresh() if nonce is None else nonce
        asked = challenge()
        if kind in (NONE, COIN, LOCKER):
            nonce = nonce[:8]
            iv = nonce + bytes(8) if kind else bytes(16)
            key = coins[0].key if kind else None
            text = asked + payload
            body = (ctr(key, iv, text) if kind else text) + END
            by = coins[0].key[:5] if kind == LOCKER else coins[0].name if kind == COIN else bytes(5)
            own = bytes([kind]) + by + struct.pack(">H", len(body)) + nonce
        else:
            if kind == TWO:
                nonce = coins[1].name + nonce[:4] + nonce[9:]
            iv = nonce[:16]
            key = hashlib.sha256(b"".join(coin.key for coin in coins)).digest()
            sealed = ctr(key, iv, payload)
            body = sealed + hmac.new(key, sealed, hashlib.sha256).digest() + END
            own = bytes([kind]) + struct.pack(">H", len(body)) + coins[0].name + nonce
        head = bytes([1, 0, self.raida, 0, command[0], command[1], 0, 6, 1, 0, 0, 0, 0, 0, 0, 1])
        whole = bytearray(head + own + body)
        for place, byte in (header or {}).items():
            whole[place] = byte
        return bytes(whole), (kind, key, iv, asked, len(body), nonce)

    def read(self, reply, way):
        kind, key, iv, asked, length, nonce = way
        size = int.from_bytes(reply[9:12], "big")
        status = reply[2]
        if reply[0] != self.raida:
            raise Wrong("another node answers")
        if kind in (NONE, COIN, LOCKER):
            if len(reply) != 32 + size:
                raise Wrong(f"{len(reply)} bytes came, and {size} behind the header were promised")
            if reply[6:8] != (nonce[6:8]):
                raise Wrong("the echo is another")
            hashed = bytes(a ^ b for a, b in zip(asked, key)) if kind else asked
            if status in (0, 250) and reply[16:32] != hashed:
                raise Wrong("the hash of the challenge is wrong")
            payload = reply[32:-2] if size else b""
            if kind and size:
                block = 0 if self.restart else -(-(length - 2) // 16)
                payload = ctr(key, iv, payload, block)
        else:
            if len(reply) != 48 + size or reply[16] != kind:
                raise Wrong("a long header that is none")
            payload = b""
            if size:
                sealed, tag = reply[48:-34], reply[-34:-2]
                if hmac.new(key, sealed, hashlib.sha256).digest() != tag:
                    raise Wrong("the reply's tag is wrong")
                payload = ctr(key, reply[24:40], sealed)
        if size and reply[-2:] != END:
            raise Wrong("a reply without its end")
        return status, payload

    def call(self, command, payload=b"", kind=NONE, coins=(), nonce=None, header=None):
        request, way = self.request(command, payload, kind, coins, nonce, header)
        return self.read(self.send(request), way)

    def expect(self, what, status, command, payload=b"", kind=NONE, coins=(), **more):
        found, answer = self.call(command, payload, kind, coins, **more)
        if found != status:
            raise Wrong(f"{what}: status {found} instead of {status}")
        self.checks += 1
        return answer


def post(key_id, coin, key, start=3):
    space = bytearray(os.urandom(128))
    space[start : start + len(key)] = key
    return key_id + bytes(16) + coin + bytes(space) + bytes([start, len(key)])


def get(key_id):
    return key_id + bytes(21)


def headers(node, coins, strict):
    for what, place, byte, status in [
        ("version", 0, 0, 255), ("split", 1, 1, 2), ("node", 2, 25, 3), ("shard", 3, 4, 4), ("group", 4, 16, 5),
        ("command", 5, 99, 6), ("coin id", 7, 9, 7), ("trailer", 48, 0, 33), ("checksum", 40, 0xEE, 37),
    ]:
        request, way = node.request(ECHO, b"", header={place: byte})
        if strict and not node.tcp and place < 16:
            # It might be another node's answer.
            if not node.is_silent(request):
                raise Wrong(f"wrong {what}: a datagram that was answered")
            node.checks += 1
            continue
        reply = node.send(request)
        if reply[2] != status:
            raise Wrong(f"wrong {what}: status {reply[2]} instead of {status}")
        node.checks += 1
    unknown = Coin("01.1023999", bytes(16))
    beyond = Coin("01.1024000", bytes(16))
    node.expect("a coin beyond the pages", 34, ECHO, b"", COIN, [beyond])
    node.expect("the same, type 4", 25, ECHO, b"", TAGGED, [beyond])
    node.expect("a locker that there is not", 34, ECHO, b"", LOCKER, [unknown])
    wrong = Coin(coins[0].text, bytes(16))
    node.expect("a wrong key", 37, ECHO, b"", COIN, [wrong])
    node.expect("a wrong key, type 4", 204, ECHO, b"", TAGGED, [wrong])


def lengths(node, by, strict):
    for kind, coins in ((COIN, by[:1]), (TAGGED, by[:1]), (TWO, by[:2])):
        # What does something is taken with a tag alone.
        def does(status):
            return 34 if strict and kind == COIN else status

        node.expect("get key, short", 16, GET, bytes(36), kind, coins)
        node.expect("post key, short", does(16), POST, bytes(166), kind, coins)
        node.expect("encrypt key, short", does(16), ENCRYPT, bytes(12), kind, coins)
        node.expect("decrypt key, short", does(16), DECRYPT, bytes(30), kind, coins)
        node.expect("decrypt key, half an item", does(39), DECRYPT, bytes(32), kind, coins)
        node.expect("no such key", 194, GET, os.urandom(16) + bytes(21), kind, coins)
        node.expect("a key beyond its space", does(196), POST, bytes(165) + bytes([1, 127]), kind, coins)
        node.expect("no own coin", does(197), DECRYPT, b"\x06" + bytes(30), kind, coins)
        beyond = b"\x01" + struct.pack(">I", 1024000)
        node.expect("a target beyond the pages", does(40), ENCRYPT, beyond, kind, coins)


def odd(node, ada, own, strict):
    """Types that there are not, commands without a body, and more items than a strict node takes."""
    request, _ = node.request(ECHO, b"", header={16: 9})
    if strict and not node.tcp:
        if not node.is_silent(request):
            raise Wrong("a type that there is not: a datagram that was answered")
    elif node.send(request)[2] != 27:
        raise Wrong("a type that there is not")
    node.checks += 1
    for command in (POST, ALERT, GET, ENCRYPT, DECRYPT):
        empty = bytes([1, 0, node.raida, 0, command[0], command[1], 0, 6, 1, 0, 0, 0, 0, 0, 0, 1]) + bytes(16)
        if node.send(empty)[2] != 36:
            raise Wrong("a command without a body")
        node.checks += 1
    many = own.name + (bytes([0, 0, 0, 5, 0]) + ada.name + bytes(16)) * 65
    found = node.expect("65 items", 45 if strict else 250, DECRYPT, many, TAGGED, [ada])
    if not strict and found != bytes(65):
        raise Wrong("65 items that are none were taken")


def posted(node, ada, bob, strict):
    for kind, coins in ((COIN, [ada]), (TAGGED, [ada]), (TWO, [ada, bob])):
        key_id = os.urandom(16)
        if strict and kind == COIN:
            node.expect("a post without a tag", 34, POST, post(key_id, ada.name, b"for Ada"), kind, coins)
            node.expect("which was not taken", 194, GET, get(key_id), kind, coins)
            continue
        node.expect("post", 250, POST, post(key_id, ada.name, b"for Ada"), kind, coins)
        if node.expect("get", 250, GET, get(key_id), kind, coins) != ada.name + b"for Ada":
            raise Wrong("another key came back")
    node.expect("without a tag", 250, GET, get(key_id), COIN, [ada])
    node.expect("somebody else's key", 194 if strict else 250, GET, get(key_id), COIN, [bob])
    theirs = post(key_id, bytes(5), b"Bob's")
    node.expect("over somebody else's key", 201 if strict else 250, POST, theirs, TAGGED, [bob])
    node.expect("nobody posts", 34 if strict else 250, POST, post(os.urandom(16), bytes(5), b"nobody's"))


def part(key_id, sender, receiver):
    return key_id + bytes(10) + b"\xff\xff\x7f\x00\x00\x01" + struct.pack(">H", 50014) + sender.name + receiver.name


def alerts(node, ada, bob, strict):
    """Whoever listens is told, under its own key; by nobody else, and of nothing that the sender has not said in its own name."""
    about = part(os.urandom(16), ada, bob)
    if not strict:
        node.expect("an alert", 250, ALERT, about)
        return
    node.expect("an alert in another's name", 198, ALERT, about, TAGGED, [bob])
    here = part(bytes(16), bob, bob)
    if node.tcp:
        node.expect("nobody listens over a connection", 198, ALERT, here, TAGGED, [bob])
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.settimeout(10)
        request, way = node.request(ALERT, here, TAGGED, [bob])
        ear.sendto(request, node.address)
        status, _ = node.read(ear.recv(65536), way)
        if status != 250:
            raise Wrong(f"listening: status {status}")
        node.expect("an alert", 250, ALERT, about + about, TAGGED, [ada])
        told = ear.recv(65536)
    length = int.from_bytes(told[17:19], "big")
    key = hashlib.sha256(bob.key).digest()
    sealed, tag = told[48:-34], told[-34:-2]
    if (told[4], told[5], told[16]) != (*ALERT, TAGGED) or told[19:24] != bob.name or len(told) != 48 + length:
        raise Wrong("what was told is no alert for this coin")
    if told[-2:] != END or hmac.new(key, sealed, hashlib.sha256).digest() != tag:
        raise Wrong("what was told has not the coin's tag")
    if ctr(key, told[24:40], sealed) != about + about:
        raise Wrong("what was told is not what was said")
    node.checks += 2


def tickets(node, ada, bob, own, strict):
    wrapped = node.expect("wrapped", 0, ENCRYPT, ada.name, TAGGED, [ada])
    if len(wrapped) != 16:
        raise Wrong("a wrapped key has 16 bytes")
    node.expect("wrapped for somebody else", 34 if strict else 0, ENCRYPT, bob.name, TAGGED, [ada])
    node.expect("wrapped without a tag", 34 if strict else 0, ENCRYPT, ada.name, COIN, [ada])
    half = b"halfakey"
    nonce = fresh()
    ticket = node.expect(
        "a ticket", 0, ENCRYPT, own.name + half + ada.name + ada.key, TAGGED, [ada], nonce=nonce
    )
    opened = open_ticket(strict, own.key, nonce[:16], ticket)
    if opened[:13] != half + ada.name or opened[15] != 0xFF:
        raise Wrong("the ticket does not open")
    guessed = own.name + half + ada.name + bytes(16)
    node.expect("a ticket about somebody else's", 34 if strict else 0, ENCRYPT, guessed, TAGGED, [bob])
    short = node.expect("a short ticket", 0, ENCRYPT, bob.name + half, TWO, [ada, bob])
    if len(short) != 16:
        raise Wrong("a ticket has 16 bytes")
    node.expect("a short ticket by nobody", 34 if strict else 0, ENCRYPT, bob.name + half)


def healing(node, bob, key, own, own_keys, strict, kind, by):
    """The request by which Bob's coin gets another key by two tickets of nodes 5 and 6, which somebody brings."""
    nonce = fresh()
    if kind == TWO:
        iv = (by[1].name + nonce[:4] + nonce[9:])[:16]
    elif kind == TAGGED:
        iv = nonce[:16]
    else:
        iv = nonce[:8] + bytes(8) if kind else bytes(16)

    def item(split, helper, half):
        text = half + bob.name + os.urandom(2) + b"\xff"
        return bytes([0, 0, split, helper, 0]) + bob.name + seal_ticket(strict, own_keys[helper], iv, text)

    items = item(0, 5, key[:8]) + item(1, 6, key[8:])
    return node.request(DECRYPT, own.name + items, kind, by, nonce)


def healed(node, bob, key, own, own_keys, strict, kind, by):
    request, way = healing(node, bob, key, own, own_keys, strict, kind, by)
    status, results = node.read(node.send(request), way)
    if strict and kind in (NONE, COIN):
        if status != 34:
            raise Wrong(f"healing without a tag: status {status}")
        node.checks += 1
        return
    if (status, results) != (250, b"\x01\x01"):
        raise Wrong(f"healing, type {kind}: status {status}, {results.hex()}")
    bob.key = key
    node.expect("the new key", 250, ECHO, b"", TAGGED, [bob])
    # The same datagram once more, as UDP may bring it.
    status, results = node.read(node.send(request), way)
    if (status, results) != (250, b"\x01\x01"):
        raise Wrong("what comes again is not answered again")
    node.checks += 2


def lockers(node, bob, own, own_keys, strict):
    """A coin whose key says that it is a locker's; what is known of it is its first five bytes."""
    before = bob.key
    if strict:
        node.expect("a locker", 34, ECHO, b"", LOCKER, [bob])
        return
    key = os.urandom(5) + b"\xff" * 11
    healed(node, bob, key, own, own_keys, strict, NONE, [])
    node.expect("a locker", 250, ECHO, b"", LOCKER, [bob])
    node.expect("a locker fetches", 194, GET, os.urandom(16) + bytes(21), LOCKER, [bob])
    healed(node, bob, before, own, own_keys, strict, NONE, [])
    node.expect("a locker that is none any more", 34, ECHO, b"", LOCKER, [Coin(bob.text, key)])


def too_often(node, strict):
    """A strict node has had enough of one address at some time, and says so by a connection."""
    # What comes back to an address with time is less than anybody asks here, however slow the machine.
    for _ in range(20_000 if strict else 50):
        status, _ = node.call(ECHO)
        if strict and status == 160:
            break
        if status != 250:
            raise Wrong(f"asking often: status {status}")
    else:
        if strict:
            raise Wrong("nobody has had enough")
    node.checks += 1


def everything(node, coins, own_keys, strict):
    ada, bob, own = coins[0], coins[1], coins[-1]
    for node.tcp in (False, True):
        for kind, by in ((NONE, []), (COIN, [ada]), (TAGGED, [ada]), (TWO, [ada, bob])):
            node.expect(f"echo, type {kind}", 250, ECHO, b"", kind, by)
            alert = 250 if not strict else 34 if kind in (NONE, COIN) else 16
            node.expect("an alert about nothing", alert, ALERT, b"", kind, by)
        headers(node, coins, strict)
        lengths(node, coins, strict)
        odd(node, ada, own, strict)
        posted(node, ada, bob, strict)
        alerts(node, ada, bob, strict)
        tickets(node, ada, bob, own, strict)
        for kind, by in ((NONE, []), (COIN, [ada]), (TAGGED, [ada]), (TWO, [ada, own])):
            healed(node, bob, os.urandom(16), own, own_keys, strict, kind, by)
        lockers(node, bob, own, own_keys, strict)
    too_often(node, strict)


KEPT = b"a key that stays"


def steps(node, names, key, ada, bob, own, own_keys, strict):
    """One thing after the other, for tests in which something becomes of the node meanwhile."""
    for name in names:
        if name == "heal":
            healed(node, bob, key, own, own_keys, strict, TAGGED, [ada])
        elif name == "heal-refused":
            request, way = healing(node, bob, os.urandom(16), own, own_keys, strict, TAGGED, [ada])
            if node.read(node.send(request), way)[0] != 252:
                raise Wrong("a key was written where none can be")
            node.checks += 1
        elif name == "prove":
            bob.key = key
            node.expect("its key", 250, ECHO, b"", TAGGED, [bob])
        elif name == "post":
            node.expect("post", 250, POST, post(KEPT, ada.name, b"for Ada"), TAGGED, [ada])
        elif name == "post-refused":
            for key_id in (KEPT, os.urandom(16)):
                node.expect("a post that cannot be kept", 194, POST, post(key_id, ada.name, b"not kept"), TAGGED, [ada])
        elif name == "get":
            if node.expect("get", 250, GET, get(KEPT), TAGGED, [ada]) != ada.name + b"for Ada":
                raise Wrong("another key came back")


def main():
    global AHEAD
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--node", required=True)
    options.add_argument("--raida", type=int, required=True)
    options.add_argument("--profile", choices=["strict", "compat"], required=True)
    options.add_argument("--restart", action="store_true", help="the node's replies restart the keystream")
    options.add_argument("--ahead", type=int, default=0, help="seconds that its clock is ahead: 30 are taken, and are what a node that was just started asks for")
    options.add_argument("--step", action="append", help="only this, one after the other", choices=["heal", "heal-refused", "prove", "post", "post-refused", "get"])
    options.add_argument("--key", type=bytes.fromhex, default=bytes(16), help="the key that the second coin is given, or shown to have (hex)")
    options.add_argument("--keys", required=True)
    options.add_argument("--own", required=True)
    given = options.parse_args()
    AHEAD = given.ahead
    with open(given.keys, encoding="ascii") as lines:
        coins = [Coin(name, bytes.fromhex(key)) for name, _, key in map(str.split, lines)]
    with open(given.own, "rb") as file:
        content = file.read()
    own_keys = [content[40 + 16 * n : 56 + 16 * n] for n in range(25)]
    ada, bob, own = coins[0], coins[1], coins[-1]
    node = Node(given.node, given.raida, given.restart)
    strict = given.profile == "strict"
    try:
        if given.step:
            steps(node, given.step, given.key, ada, bob, own, own_keys, strict)
        else:
            everything(node, coins, own_keys, strict)
    except (Wrong, OSError) as wrong:
        print(f"{'tcp' if node.tcp else 'udp'}: {wrong}", file=sys.stderr)
        return 1
    print(f"{node.checks} answers as they should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
