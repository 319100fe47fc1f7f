// A member: its keys, its state in one group, and the commit of its own that the delivery service has not taken yet.
//
// Nothing here knows what Undertone asks of a leaf: the credential and the terms of the group come in as bytes.

import {
  acceptAll, createApplicationMessage, createCommit, createGroup, createGroupInfoWithExternalPub, createProposal,
  decodeMlsMessage, defaultLifetime, encodeMlsMessage, generateKeyPackageWithKey, getCiphersuiteFromName,
  getCiphersuiteImpl, joinGroup, joinGroupExternal, makePskIndex, mlsExporter, processMessage,
  processPrivateMessage, processPublicMessage, bytesToBase64, ciphersuites,
} from "ts-mls"
import { encodeGroupContext } from "ts-mls/groupContext.js"
import { decodeRatchetTree, encodeRatchetTree } from "ts-mls/ratchetTree.js"
import { drawSignatureKey, readsExternalPub, writesExternalPub } from "./shims.mjs"

const message = (wireformat, name, content) => encodeMlsMessage({ version: "mls10", wireformat, [name]: content })

function read(decode, bytes) {
  const [value, length] = decode(bytes, 0) ?? [undefined, 0]
  if (value === undefined || length !== bytes.length) throw new TypeError("malformed")
  return value
}

export class Member {
  #psks = {}

  /** Draws the key of a leaf, for MLS's suite `suite`. `theirs`: as ts-mls draws it. `extensions`: those that it says it can read. */
  async key({ suite, theirs = false, extensions }) {
    const name = Object.keys(ciphersuites).find((name) => ciphersuites[name] === suite)
    this.suite = await getCiphersuiteImpl(getCiphersuiteFromName(name))
    this.pair = theirs ? await this.suite.signature.keygen() : await drawSignatureKey(this.suite)
    this.capabilities = {
      versions: ["mls10"], ciphersuites: [name], extensions, proposals: [], credentials: ["basic"],
    }
    return { key: this.pair.publicKey }
  }

  /** Makes a key package with the key that was drawn. */
  async package({ credential }) {
    this.waiting = await generateKeyPackageWithKey(
      { credentialType: "basic", identity: credential }, this.capabilities, defaultLifetime, [], this.pair, this.suite)
    return { message: message("mls_key_package", "keyPackage", this.waiting.publicPackage) }
  }

  /** A group of one. `extensions` of the group context: type and bytes. */
  async create({ group, credential, extensions }) {
    await this.package({ credential })
    const { publicPackage, privatePackage } = this.waiting
    const all = extensions.map(({ type, bytes }) => ({ extensionType: type, extensionData: bytes }))
    this.state = await createGroup(group, publicPackage, privatePackage, all, this.suite)
  }

  async join({ welcome, tree }) {
    const { publicPackage, privatePackage } = this.waiting
    this.state = await joinGroup(
      read(decodeMlsMessage, welcome).welcome, publicPackage, privatePackage, this.#index(), this.suite,
      read(decodeRatchetTree, tree))
  }

  /** An external commit. `again`: over the leaf that has the same key. `shim`: whether external_pub is read as RFC 9420 writes it. */
  async external({ info, tree, credential, again = false, shim = true }) {
    await this.package({ credential })
    const { publicPackage, privatePackage } = this.waiting
    const suite = shim ? readsExternalPub(this.suite) : this.suite
    const { newState, publicMessage } = await joinGroupExternal(
      read(decodeMlsMessage, info).groupInfo, publicPackage, privatePackage, again, suite,
      read(decodeRatchetTree, tree))
    this.pending = newState
    return { commit: message("mls_public_message", "publicMessage", publicMessage) }
  }

  /**
   * A commit: key packages, leaf indices, ids of pre-shared keys, other extensions; nothing at all is an update. `open`: as a public
   * message. It is merged when the delivery service has taken it.
   */
  async commit({ add = [], remove = [], psks = [], extensions, open = false }) {
    const extraProposals = [
      ...remove.map((removed) => ({ proposalType: "remove", remove: { removed } })),
      ...add.map((bytes) => ({ proposalType: "add", add: { keyPackage: read(decodeMlsMessage, bytes).keyPackage } })),
      ...psks.map((pskId) => ({
        proposalType: "psk",
        psk: { preSharedKeyId: { psktype: "external", pskId, pskNonce: this.suite.rng.randomBytes(this.suite.kdf.size) } },
      })),
    ]
    if (extensions) {
      const all = extensions.map(({ type, bytes }) => ({ extensionType: type, extensionData: bytes }))
      extraProposals.push({ proposalType: "group_context_extensions", groupContextExtensions: { extensions: all } })
    }
    const context = { state: this.state, cipherSuite: this.suite, pskIndex: this.#index() }
    const { newState, commit, welcome } =
      await createCommit(context, { extraProposals, wireAsPublicMessage: open })
    this.pending = newState
    return {
      commit: encodeMlsMessage(commit),
      welcome: welcome && message("mls_welcome", "welcome", welcome),
      tree: encodeRatchetTree(newState.ratchetTree),
    }
  }

  /** The delivery service has taken the commit. */
  accepted() {
    this.state = this.pending
    this.pending = undefined
  }

  /** A proposal that stands alone. The next commit refers to it. */
  async propose({ removed }) {
    const proposal = { proposalType: "remove", remove: { removed } }
    const { newState, message } = await createProposal(this.state, false, proposal, this.suite)
    this.state = newState
    return { message: encodeMlsMessage(message) }
  }

  /**
   * Whatever a group sends. processMessage of ts-mls 1.6.4 looks up no pre-shared key for a private message, whatever it is
   * given; so each kind has its own call here, unless `whole`.
   */
  async receive({ message, whole = false }) {
    const content = read(decodeMlsMessage, message)
    const rest = [this.#index(), this.suite, acceptAll]
    let result
    if (whole) result = await processMessage(content, this.state, this.#index(), acceptAll, this.suite)
    else if (content.privateMessage) result = await processPrivateMessage(this.state, content.privateMessage, ...rest)
    else result = await processPublicMessage(this.state, content.publicMessage, ...rest)
    this.state = result.newState
    if (result.kind === "applicationMessage") return { said: result.message }
    this.pending = undefined
    return { active: this.state.groupActiveState.kind === "active" }
  }

  async seal({ message: bytes }) {
    const { newState, privateMessage } = await createApplicationMessage(this.state, bytes, this.suite)
    this.state = newState
    return { message: message("mls_private_message", "privateMessage", privateMessage) }
  }

  psk({ id, secret }) {
    this.#psks[bytesToBase64(id)] = secret
  }

  /** What somebody needs to join this epoch by themselves. */
  async public({ shim = true }) {
    const suite = shim ? writesExternalPub(this.suite) : this.suite
    const info = await createGroupInfoWithExternalPub(this.state, [], suite)
    return { info: message("mls_group_info", "groupInfo", info), tree: encodeRatchetTree(this.state.ratchetTree) }
  }

  /** What has to be the same for all members. */
  epoch() {
    return {
      epoch: this.state.groupContext.epoch,
      index: this.state.privatePath.leafIndex,
      authenticator: this.state.keySchedule.epochAuthenticator,
      context: encodeGroupContext(this.state.groupContext),
      tree: encodeRatchetTree(this.state.ratchetTree),
      confirmation: this.state.confirmationTag,
    }
  }

  async export({ text, context, length }) {
    return { secret: await mlsExporter(this.state.keySchedule.exporterSecret, text, context, length, this.suite) }
  }

  #index() {
    return makePskIndex(this.state, this.#psks)
  }
}
