"""Makes quantise.golden.gguf: what the gguf package's quantisers make of awkward rows. Run: python quantise.py OUT"""

import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

rng = np.random.default_rng(20240607)
n = 512
rows = [
    rng.normal(0, 1, n),
    rng.normal(0, 0.02, n),
    rng.normal(0, 1, n) ** 5,
    rng.uniform(-3, 3, n) + 7,  # far from zero
    np.where(np.arange(n) % 32 == 3, 127, rng.integers(-126, 127, n) + 0.5),  # exact halves: which way they round
    np.where(np.arange(n) % 32 == 3, -8, rng.integers(-8, 8, n) + 0.5),
    np.where(np.arange(n) % 32 < 2, np.arange(n) % 32 * 15, rng.integers(0, 15, n) + 0.5),
    np.where(np.arange(n) % 256 == 3, 1, rng.integers(-2, 3, n) / 2),  # ternary halves
    rng.integers(-1, 2, n) * 0.75,  # ternary
    np.where(rng.random(n) < 0.02, rng.normal(0, 50, n), 0),  # mostly zero
    np.zeros(n),
    np.repeat([5.0, -5.0, 2.5, -2.5], n // 4),  # equal magnitudes: the first counts
    np.tile([-5.0, 5.0, 2.5, -2.5], n // 4),
    rng.normal(0, 1e5, n),  # scales beyond f16 for some, values for most
    rng.normal(0, 1e-6, n),  # subnormal scales in f16
    rng.normal(0, 1e-39, n),  # subnormal floats, 1/d overflows
    rng.normal(0, 1, n) * np.repeat(np.exp2(rng.integers(-30, 16, n // 32)), 32),
]
x = np.stack(rows).astype(np.float32)
x[x == 0] = 0  # no negative zeros

w = gguf.GGUFWriter(sys.argv[1], "golden")
w.add_tensor("x", x)
with np.errstate(all="ignore"):
    for t in (T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.TQ1_0, T.TQ2_0):
        q = gguf.quants.quantize(x, t)
        w.add_tensor(t.name, np.ascontiguousarray(q).view(np.uint8), raw_dtype=t)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
