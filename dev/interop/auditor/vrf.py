"""ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381): verifying, and the output.

Section numbers in comments are the RFC's.
"""

from hashlib import sha512

from . import curve
from .fault import Malformed

SUITE = b"\x03"
PROOF_LENGTH = 80
CHALLENGE_LENGTH = 16


class PublicKey:
    """A VRF key, validated (5.4.5): a key of small order would prove any output for any input."""

    def __init__(self, data: bytes) -> None:
        point = curve.decode(data)
        if point is None or curve.is_neutral(curve.times_cofactor(point)):
            raise Malformed("not a VRF key")
        self.data = data
        self.point = point

    def verify(self, alpha: bytes, proof: bytes) -> bytes:
        """The 64 bytes of output that the proof shows to belong to the input alpha (5.3)."""
        gamma, challenge, scalar = _decode_proof(proof)
        h = self._encode_to_curve(alpha)
        # U = s*B - c*Y, V = s*H - c*Gamma
        u = curve.add(curve.multiply(scalar, curve.BASE), curve.negate(curve.multiply(challenge, self.point)))
        v = curve.add(curve.multiply(scalar, h), curve.negate(curve.multiply(challenge, gamma)))
        points = b"".join(curve.encode(point) for point in (self.point, h, gamma, u, v))
        expected = sha512(SUITE + b"\x02" + points + b"\x00").digest()[:CHALLENGE_LENGTH]
        if int.from_bytes(expected, "little") != challenge:
            raise Malformed("the VRF proof is not one of this key for this input")
        # 5.2: the cofactor takes away whatever Gamma has of small order.
        cleared = curve.encode(curve.times_cofactor(gamma))
        return sha512(SUITE + b"\x03" + cleared + b"\x00").digest()

    def _encode_to_curve(self, alpha: bytes) -> curve.Point:
        """Try and increment (5.4.1.1); the salt is the key. Half of all tries give a point."""
        for attempt in range(256):
            digest = sha512(SUITE + b"\x01" + self.data + alpha + bytes([attempt]) + b"\x00").digest()
            point = curve.decode(digest[:32])
            if point is not None:
                point = curve.times_cofactor(point)
                if not curve.is_neutral(point):
                    return point
        raise Malformed("no point of the curve for this input")


def _decode_proof(proof: bytes) -> tuple[curve.Point, int, int]:
    """Gamma, c and s (5.4.4)."""
    if len(proof) != PROOF_LENGTH:
        raise Malformed("a VRF proof has 80 bytes")
    gamma = curve.decode(proof[:32])
    challenge = int.from_bytes(proof[32:48], "little")
    scalar = int.from_bytes(proof[48:], "little")
    if gamma is None:
        raise Malformed("the VRF proof begins with no point of the curve")
    if scalar >= curve.ORDER:
        raise Malformed("the VRF proof has a scalar that is not reduced")
    return gamma, challenge, scalar
