"""A second implementation of the key directory's checks (docs/spec/transparency.md, rules KT-1 to KT-14).

It exists to disagree: written from the specifications, in another language and with other algorithms where there is a
choice, it shares nothing with the Rust crates, so that a mistake in one of the two shows as a difference. It is meant
for tests and for whoever wants to audit a server without trusting our code; it is not fast.
"""
