// One member of an MLS group on ts-mls, spoken to on stdin and stdout: one JSON object a line, byte strings as hex.
//
//   {"do": "join", "welcome": "0001...", "tree": "4012..."}   ->   {"ok": {}}   or   {"error": "ValidationError: ..."}
//
// What can be asked for is what Member in member.mjs has methods for. Strings under the name "text" are text.

import { webcrypto } from "node:crypto"
import { createInterface } from "node:readline"
import { Member } from "./member.mjs"

// Node 18 has it and does not show it.
globalThis.crypto ??= webcrypto

function unhex(value, name) {
  if (typeof value === "string") return name === "text" ? value : new Uint8Array(Buffer.from(value, "hex"))
  if (Array.isArray(value)) return value.map((entry) => unhex(entry))
  if (value === null || typeof value !== "object") return value
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, unhex(entry, key)]))
}

function hex(_, value) {
  if (value instanceof Uint8Array) return Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("")
  return typeof value === "bigint" ? Number(value) : value
}

const member = new Member()
for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, ...asked } = JSON.parse(line)
  let answer
  try {
    answer = { ok: (await member[what](unhex(asked))) ?? {} }
  } catch (error) {
    answer = { error: `${error.constructor.name}: ${error.message}` }
  }
  process.stdout.write(`${JSON.stringify(answer, hex)}\n`)
}
