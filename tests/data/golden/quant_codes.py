"""Prints the checksums of tests/quick_quant.c: what the gguf package makes of blocks that hold every code.

The bytes come from a linear congruential generator that the test repeats; scales are set to one finite f16."""

import numpy as np, zlib, gguf
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize
N=1024
def lcg(n, seed):
    out=bytearray(n); s=seed
    for i in range(n):
        s=(s*1664525+1013904223)&0xffffffff; out[i]=s>>24
    return out
offs={T.Q4_0:[0],T.Q4_1:[0,2],T.Q5_0:[0],T.Q5_1:[0,2],T.Q8_0:[0],T.Q2_K:[80,82],T.Q3_K:[108],T.Q4_K:[0,2],T.Q5_K:[0,2],T.Q6_K:[208],
 T.IQ1_S:[0],T.IQ1_M:None,T.IQ2_XXS:[0],T.IQ2_XS:[0],T.IQ2_S:[0],T.IQ3_XXS:[0],T.IQ3_S:[0],T.IQ4_NL:[0],T.IQ4_XS:[0],T.TQ1_0:[52],T.TQ2_0:[64],T.MXFP4:[],T.NVFP4:[]}
for t,o in offs.items():
    bs=gguf.GGML_QUANT_SIZES[t][1]
    b=np.frombuffer(bytes(lcg(N*bs,int(t))),dtype=np.uint8).reshape(N,bs).copy()
    if o is None:
        for j in range(4): b[:,48+2*j+1]=(b[:,48+2*j+1]&0x0f)|((0x3155>>(4*j)&15)<<4)
    else:
        for k in o: b[:,k]=0x55; b[:,k+1]=0x31
    x=np.ascontiguousarray(dequantize(b,t)).astype('<f4')
    assert not np.isnan(x).any()
    print('{QUANT_%s, %s, 0x%08x},'%(t.name, '{%s}'%', '.join(map(str,(o or [])+[-1]*(2-len(o or [])))), zlib.crc32(x.tobytes())))
