"""One answer of a server about one user, as a client gets it (rules KT-1 to KT-8, in the specification's order)."""

from dataclasses import dataclass
from hashlib import sha256

from . import cbor, lists, merkle
from .fault import Fault, Malformed
from .leaf import Leaf, disorder
from .log import Expectations, check_growth
from .lookup import Absence, Directory, Found, Lookup, Update, user_label
from .note import Checkpoint, check_witnesses, verify_checkpoint
from .vrf import PublicKey

MAX_BYTES = 4 << 20
MAX_LISTS = 1024
MAX_HASHES = 129
MAX_OLDER = 8
# Seconds after which an announcement to begin an account anew is good, while any of its devices may act (rule ID-7).
ANEW = 72 * 3600
# Seconds by which the server's clock may be ahead of ours.
MAX_AHEAD = 300


# The list before the announcement, if it is known, and the announcement.
Anew = tuple[lists.DeviceList | None, lists.DeviceList]


@dataclass(frozen=True)
class Answer:
    """CBOR {0: checkpoint, 1: consistency, 2: leaf, 3: inclusion, 4: [0, look-up, [list]] or [1, absence], 5: an older
    checkpoint that witnesses cosigned, 6: the leaf of the epoch in which the account began anew}."""

    checkpoint: bytes
    consistency: list[bytes]
    leaf: bytes
    inclusion: list[bytes]
    proof: Lookup | Absence
    lists: list[bytes]
    # Older checkpoints, each with the consistency proof from there.
    witnessed: list[tuple[bytes, list[bytes]]]
    # Index, leaf and inclusion proof, and the version that the leaf's epoch published where the look-up does not say so.
    announced: tuple[int, bytes, list[bytes], Update | None] | None

    @classmethod
    def parse(cls, data: bytes) -> "Answer":
        if len(data) > MAX_BYTES:
            raise Malformed(f"{len(data)} bytes are no answer")
        fields = cbor.fields(cbor.decode(data), {0, 1, 2, 3, 4}, {5, 6})
        consistency, inclusion = (merkle.split(cbor.octets(fields[key])) for key in (1, 3))
        if max(len(consistency), len(inclusion)) > MAX_HASHES:
            raise Malformed("a proof about the log that is too long")
        about_log = cbor.octets(fields[0]), consistency, cbor.octets(fields[2]), inclusion
        announced = None
        older = [cbor.fields(entry, {0, 1}) for entry in cbor.array(fields[5])] if 5 in fields else []
        if len(older) > MAX_OLDER:
            raise Malformed(f"{len(older)} older checkpoints")
        witnessed = [(cbor.octets(entry[0]), merkle.split(cbor.octets(entry[1]))) for entry in older]
        if 6 in fields:
            shown = cbor.fields(fields[6], {0, 1, 2}, {3})
            update = Update.take(shown[3]) if 3 in shown else None
            announced = cbor.uint(shown[0]), cbor.octets(shown[1]), merkle.split(cbor.octets(shown[2])), update
        match cbor.array(fields[4]):
            case [0, proof, list(given)] if len(given) <= MAX_LISTS:
                entries = [cbor.octets(entry) for entry in given]
                return cls(*about_log, Lookup.take(proof), entries, witnessed, announced)
            case [1, proof]:
                return cls(*about_log, Absence.take(proof), [], witnessed, announced)
        raise Malformed("neither a user's devices nor a user's absence")


@dataclass(frozen=True)
class NewestAt:
    """An epoch of the directory in which a list was its user's newest, and the log's time then."""

    epoch: int
    time: int


@dataclass(frozen=True)
class Question:
    """Who is asked about, and what is known beforehand. `age` is how many seconds old the directory may be."""

    domain: str
    name: str
    vrf_key: PublicKey
    known: Expectations
    newest: lists.DeviceList | None
    # Up to when that list was the newest, if an earlier answer has shown that.
    newest_at: NewestAt | None
    age: int

    def user(self) -> str:
        return f"{self.name}@{self.domain}"


@dataclass(frozen=True)
class Proven:
    """What an answer proves. `found` is missing for a user who is not in the directory."""

    checkpoint: Checkpoint
    witnesses: dict[str, int]
    leaf: Leaf
    found: Found | None


def verify(data: bytes, question: Question) -> Proven:
    known = question.known
    try:
        answer = Answer.parse(data)
    except Malformed as error:
        raise Fault("KT-1", f"the answer cannot be read: {error}") from error
    origin = f"{question.domain}/undertone/directory"
    if known.key.name != origin:
        raise Fault("KT-1", f"the log key is that of {known.key.name}, not of {origin}")
    checkpoint = verify_checkpoint(answer.checkpoint, known.key)
    witnesses = _check_witnessed(answer, checkpoint, known)
    leaf = _last_leaf(answer, checkpoint)
    if leaf.vrf_key != sha256(question.vrf_key.data).digest():
        raise Fault("KT-14", f"the directory's VRF key has SHA-256 {leaf.vrf_key.hex()}, which is not the pinned one's")
    if known.seen:
        _check_grown(known.seen.checkpoint, checkpoint, answer.consistency)
        broken = disorder(known.seen.leaf, leaf, neighbours=False)
        if broken:
            raise Fault(broken[0], f"against the leaf seen before, {broken[1]}")
    label = user_label(question.domain, question.name)
    directory = Directory(question.vrf_key, leaf.root, leaf.epoch, label)
    found = None
    if isinstance(answer.proof, Absence):
        directory.deny(answer.proof)
        if question.newest:
            raise Fault("KT-6", f"{question.user()} is denied, and was there with version {question.newest.version}")
    else:
        found = directory.look_up(answer.proof)
        anew = _check_lists(answer.lists, found, question)
        _check_published(found.version, found.published, question)
        if anew:
            _check_announced(answer, anew, found, leaf, checkpoint, directory, question)
    _check_age(leaf, known.now, question.age)
    return Proven(checkpoint, witnesses, leaf, found)


def _last_leaf(answer: Answer, checkpoint: Checkpoint) -> Leaf:
    """Rule KT-3: the leaf is the last one. An earlier one is in the log as well, and shows an old directory."""
    try:
        leaf = Leaf.parse(answer.leaf)
        if checkpoint.size == 0:
            raise Malformed("the log is empty")
        hashed = merkle.leaf_hash(answer.leaf)
        root = merkle.inclusion_root(checkpoint.size - 1, checkpoint.size, hashed, answer.inclusion)
    except Malformed as error:
        raise Fault("KT-3", f"the last leaf: {error}") from error
    if root != checkpoint.root:
        what = f"the leaf of epoch {leaf.epoch} as the last of {checkpoint.size} leads to root {root.hex()}"
        raise Fault("KT-3", f"{what}, the checkpoint says {checkpoint.root.hex()}")
    return leaf


def _check_witnessed(answer: Answer, checkpoint: Checkpoint, known: Expectations) -> dict[str, int]:
    """Rule KT-2: below the newest checkpoint, or below older ones that it grew from; each witness counts once."""
    found = check_witnesses(checkpoint, known.witnesses, 0, known.now)
    for note, consistency in answer.witnessed:
        older = verify_checkpoint(note, known.key)
        _check_grown(older, checkpoint, consistency)
        found = check_witnesses(older, known.witnesses, 0, known.now) | found
    if len(found) < known.threshold:
        raise Fault("KT-2", f"{len(found)} of the witnesses cosigned, {known.threshold} have to")
    return found


def _check_announced(
    answer: Answer,
    anew: list[Anew],
    found: Found,
    last: Leaf,
    shown: Checkpoint,
    directory: Directory,
    question: Question,
) -> None:
    """Rule ID-7: since when it is announced that the account begins anew, and that nothing of the new key came before."""
    # None of several makes way for the next: the last has to have waited.
    announcement = anew[-1][1]
    if any(before is None for before, _ in anew):
        raise Fault("ID-7", "the account begins anew, and who was there before is not shown")
    if not any(before and before.active() for before, _ in anew):
        return
    if answer.announced is None:
        raise Fault("ID-7", "the account begins anew, and since when is not shown")
    index, data, proof, update = answer.announced
    published = found.published
    if update is not None:
        try:
            published = directory.published(announcement.version, announcement.hash, update)
        except Fault as error:
            raise Fault("ID-7", f"when the announcement was published: {error.what}") from error
    elif announcement.version != found.version:
        raise Fault("ID-7", "when the announcement was published is not shown")
    try:
        leaf = Leaf.parse(data)
        root = merkle.inclusion_root(index, shown.size, merkle.leaf_hash(data), proof)
    except Malformed as error:
        raise Fault("ID-7", f"the leaf of the announcement: {error}") from error
    if root != shown.root or leaf.epoch != published:
        raise Fault("ID-7", f"leaf {index} is not the one of epoch {published}")
    seen = question.known.seen
    late = seen and index >= seen.checkpoint.size and disorder(seen.leaf, leaf, neighbours=False)
    if late or disorder(leaf, last, neighbours=False):
        raise Fault("ID-7", f"leaf {index} is out of order")
    _check_published(announcement.version, leaf.epoch, question)
    looked = question.newest_at
    if looked and question.newest and announcement.version > question.newest.version and leaf.time < looked.time:
        raise Fault("KT-8", f"leaf {index} has time {leaf.time}, and the list before was the newest at {looked.time}")
    if last.time < leaf.time + ANEW and announcement.version != found.version:
        raise Fault("ID-7", f"the new key has a list before {leaf.time + ANEW}, when it may have one")


def _check_published(version: int, published: int, question: Question) -> None:
    """Rule KT-6: a version behind the one known was published after the epoch in which that was the newest."""
    known, looked = question.newest, question.newest_at
    if known and looked and version > known.version and published <= looked.epoch:
        what = f"version {version} is said to have been published in epoch {published}"
        raise Fault("KT-6", f"{what}, and version {known.version} was the newest in epoch {looked.epoch}")


def _check_grown(before: Checkpoint, shown: Checkpoint, proof: list[bytes]) -> None:
    """Rule KT-4."""
    check_growth(before, shown)
    try:
        # Nothing has to be proven where one of the trees is empty or both are one, and then nothing is to be said.
        roots = (before.root, shown.root)
        if 0 < before.size < shown.size:
            roots = merkle.consistency_roots(before.size, shown.size, before.root, proof)
        elif proof:
            raise Malformed("the proof is too long")
    except Malformed as error:
        what = f"the log of {shown.size} leaves is not shown to begin with the {before.size} seen"
        raise Fault("KT-4", f"{what}: {error}") from error
    if roots != (before.root, shown.root):
        what = f"the proof from {before.size} to {shown.size} leaves leads to roots"
        told = f"{roots[0].hex()} and {roots[1].hex()}, the checkpoints say {before.root.hex()} and {shown.root.hex()}"
        raise Fault("KT-4", f"{what} {told}")


def _check_lists(given: list[bytes], found: Found, question: Question) -> list[Anew]:
    """Rule KT-7: the newest list is the one that the directory names, and all that are shown follow each other. Gives those
    shown that begin the account anew and were not taken back, oldest first, each with the one before it."""
    before, newest = None, question.newest
    anew: list[Anew] = []
    if newest and found.version < newest.version:
        raise Fault("KT-7", f"version {found.version} was shown, and version {newest.version} is known")
    try:
        for data in given:
            after = lists.parse(data, question.user())
            if newest:
                lists.check_next(before, newest, after)
            if after.anew:
                anew.append((newest, after))
            elif newest and after.account != newest.account:
                anew.pop()
            before, newest = newest, after
    except Malformed as error:
        raise Fault("KT-7", str(error)) from error
    if newest is None or newest.hash != found.value:
        shown = newest.hash.hex() if newest else "none"
        raise Fault("KT-7", f"the newest list shown is {shown}, the directory names {found.value.hex()}")
    if newest.version != found.version:
        what = f"a list with version {newest.version} stands in the directory as version {found.version}"
        raise Fault("KT-7", what)
    return anew


def _check_age(leaf: Leaf, now: int, most: int) -> None:
    """Rule KT-8."""
    if now - leaf.time > most:
        raise Fault("KT-8", f"the newest leaf is {now - leaf.time} s old, {most} s are allowed")
    if leaf.time - now > MAX_AHEAD:
        raise Fault("KT-8", f"the newest leaf is {leaf.time - now} s ahead of the clock")
