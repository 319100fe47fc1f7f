// Where ts-mls 1.6.4 writes other bytes than RFC 9420 says. Each of these is used for one call alone, and each has a test which fails when
// it is not needed any more (independent_mls_peer/faults.rs).

import { p256 } from "@noble/curves/nist.js"

/** A vector as TLS writes it in MLS (RFC 9420, 2.1.2), for fewer than 2^14 bytes. */
function vector(bytes) {
  const head = bytes.length < 64 ? [bytes.length] : [0x40 | (bytes.length >> 8), bytes.length & 0xff]
  return new Uint8Array([...head, ...bytes])
}

/**
 * The extension external_pub holds an HPKEPublicKey, which is a vector (RFC 9420, 12.4.3.2 and 5.1.1). ts-mls 1.6.4 writes and reads the
 * key alone, without its length. The extension is inside what the group info's signature covers, so it is put right where the
 * key is exported for it, and where the key that was read out of it is imported. In that second call the keys of the tree are
 * imported too: what is as long as a key is one.
 */
export const writesExternalPub = (suite) => ({
  ...suite,
  hpke: { ...suite.hpke, exportPublicKey: async (key) => vector(await suite.hpke.exportPublicKey(key)) },
})
export function readsExternalPub(suite) {
  const length = suite.name.includes("X25519") ? 32 : 65
  const head = vector(new Uint8Array(length)).length - length
  const key = (bytes) => (bytes.length === length + head ? bytes.slice(head) : bytes)
  return { ...suite, hpke: { ...suite.hpke, importPublicKey: async (bytes) => suite.hpke.importPublicKey(key(bytes)) } }
}

/**
 * A public key of ECDSA is an uncompressed point (RFC 9420, 5.1.1). ts-mls 1.6.4 draws the key pair of a leaf in suite 2 with a compressed
 * one, but takes one that it is given as it is.
 */
export async function drawSignatureKey(suite) {
  if (suite.name !== "MLS_128_DHKEMP256_AES128GCM_SHA256_P256") return suite.signature.keygen()
  const signKey = p256.utils.randomSecretKey()
  return { signKey, publicKey: p256.getPublicKey(signKey, false) }
}
