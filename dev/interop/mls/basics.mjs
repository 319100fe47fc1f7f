// Prints crates/groups/vectors/crypto-basics.json: what RFC 9420's basic operations come to in ts-mls, for the suites 1 and 2. Drawn anew
// each time; made once and kept. The form is the one of the MLS working group's crypto-basics.json, so those can be put in its place.

import { webcrypto } from "node:crypto"
import { ciphersuites, getCiphersuiteFromName, getCiphersuiteImpl } from "ts-mls"
import { refhash } from "ts-mls/crypto/hash.js"
import { encryptWithLabel } from "ts-mls/crypto/hpke.js"
import { deriveSecret, deriveTreeSecret, expandWithLabel } from "ts-mls/crypto/kdf.js"
import { signWithLabel } from "ts-mls/crypto/signature.js"
import { drawSignatureKey } from "./shims.mjs"

globalThis.crypto ??= webcrypto

const random = (length) => webcrypto.getRandomValues(new Uint8Array(length))
const hex = (_, value) => (value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value)

async function basics(name) {
  const suite = await getCiphersuiteImpl(getCiphersuiteFromName(name))
  const [value, secret, context, content, plaintext] = [90, 32, 32, 70, 45].map(random)
  const { signKey, publicKey } = await drawSignatureKey(suite)
  const receiver = await suite.hpke.generateKeyPair()
  const sealed = await encryptWithLabel(receiver.publicKey, "EncryptWithLabel", context, plaintext, suite.hpke)
  return {
    cipher_suite: ciphersuites[name],
    ref_hash: { label: "RefHash", value, out: await refhash("RefHash", value, suite.hash) },
    expand_with_label: {
      secret, label: "ExpandWithLabel", context, length: 16,
      out: await expandWithLabel(secret, "ExpandWithLabel", context, 16, suite.kdf),
    },
    derive_secret: { secret, label: "DeriveSecret", out: await deriveSecret(secret, "DeriveSecret", suite.kdf) },
    derive_tree_secret: {
      secret, label: "DeriveTreeSecret", generation: 0xa0b0c0d0, length: 32,
      out: await deriveTreeSecret(secret, "DeriveTreeSecret", 0xa0b0c0d0, 32, suite.kdf),
    },
    sign_with_label: {
      // Of a key in PKCS #8, the 32 bytes that it is derived from.
      priv: signKey.slice(-32), pub: publicKey, content, label: "SignWithLabel",
      signature: await signWithLabel(signKey, "SignWithLabel", content, suite.signature),
    },
    encrypt_with_label: {
      priv: await suite.hpke.exportPrivateKey(receiver.privateKey),
      pub: await suite.hpke.exportPublicKey(receiver.publicKey),
      label: "EncryptWithLabel", context, plaintext, kem_output: sealed.enc, ciphertext: sealed.ct,
    },
  }
}

const suites = ["MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519", "MLS_128_DHKEMP256_AES128GCM_SHA256_P256"]
process.stdout.write(`${JSON.stringify(await Promise.all(suites.map(basics)), hex, 2)}\n`)
