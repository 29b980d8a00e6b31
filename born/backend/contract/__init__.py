"""The contract: one mixin a topic, required operations and those with a default side by side.

`born.backend.Backend` is all of them together. A topic imports no other.
"""
