"""The contract met once for every NumPy-like namespace, by the same topics."""
