"""Operations as compiled loops, where one loop beats several of NumPy's.

Each is a plain function over contiguous arrays of one floating dtype, compiled for float32 and
float64 when first called. NumPy's own loops are vectorised by hand: what is here was measured to
win (docs/notes/performance.md). Only updates promise the bits of NumPy's result.
"""
