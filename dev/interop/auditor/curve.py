"""The curve edwards25519 (RFC 8032, section 5.1) with plain integers, and Ed25519 signatures.

Nothing here is secret, so nothing has to run in constant time.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

# X, Y, Z, T with x = X/Z, y = Y/Z and x * y = T/Z: no division is needed until a point is written.
Point = tuple[int, int, int, int]
NEUTRAL: Point = (0, 1, 1, 0)


def add(p: Point, q: Point) -> Point:
    """RFC 8032, section 5.1.4. The formula is complete: it also doubles."""
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def negate(p: Point) -> Point:
    return -p[0] % P, p[1], p[2], -p[3] % P


def multiply(scalar: int, p: Point) -> Point:
    result = NEUTRAL
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, p)
    return result


def times_cofactor(p: Point) -> Point:
    return multiply(8, p)


def is_neutral(p: Point) -> bool:
    return p[0] % P == 0 and (p[1] - p[2]) % P == 0


def decode(data: bytes) -> Point | None:
    """The point that 32 bytes stand for, or none (RFC 8032, section 5.1.3). A point has exactly one encoding."""
    if len(data) != 32:
        return None
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= P:
        return None
    # x^2 = (y^2 - 1) / (d y^2 + 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def encode(p: Point) -> bytes:
    inverse = pow(p[2], -1, P)
    x, y = p[0] * inverse % P, p[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


# y = 4/5, x even
BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little")) or NEUTRAL


def signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature holds.

    Points of small order sign everything at once, and libraries differ in whether they take them. Nobody needs one.
    """
    for encoding in (key, signature[:32]):
        point = decode(encoding)
        if point is None or is_neutral(times_cofactor(point)):
            return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
