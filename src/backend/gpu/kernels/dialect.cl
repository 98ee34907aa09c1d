/* The language of the kernels: words that mean the same in OpenCL C 1.2 and in CUDA C. Everything behind this file is
 * written in them, so that what one of both proves holds for the text of the other.
 *
 * A kernel runs in work groups of one dimension, LOCAL_ID in a group, the group at (GROUP_X, GROUP_Y). GROUP is the
 * number of work items of the ordinary kernels, PRODUCT_ROWS * 8 that of products: both come from the device's limits.
 * Text before this file defines them.
 *
 * On CUDA devices from 9.0 on the groups of a launch may begin before the launch in front of it has ended
 * (programmatic dependent launch). grid_wait() waits for that end, and for all that was written until then: EVERY kernel
 * calls it before it reads what a launch before it wrote, and before it writes anything at all; only weights and
 * arguments may be read earlier. grid_release() lets the groups of the next launch begin, once all groups of this one
 * have said so: it is a matter of speed, not of order, and comes early. Elsewhere both do nothing. */
#ifdef __OPENCL_VERSION__
#pragma OPENCL FP_CONTRACT OFF
#define KERNEL(size) __kernel __attribute__((reqd_work_group_size(size, 1, 1)))
#define FN       static inline
#define GLOBAL   __global
#define LOCAL    __local
#define BARRIER  barrier(CLK_LOCAL_MEM_FENCE)
#define LOCAL_ID ((int)get_local_id(0))
#define GROUP_X  ((int)get_group_id(0))
#define GROUP_Y  ((int)get_group_id(1))
#define AS_FLOAT(x) as_float(x)
#define AS_UINT(x)  as_uint(x)
typedef ulong wide;

FN float half_to_float(uint bits) {
    ushort h = (ushort)bits;
    return vload_half(0, (const half *)&h);
}
FN uint float_to_half(float x) {
    ushort h;
    vstore_half_rte(x, 0, (half *)&h);
    return h;
}

/* sum + the inner product of four signed bytes each */
#ifdef cl_khr_integer_dot_product
#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable
#endif
#if defined(USE_DOT) && defined(__opencl_c_integer_dot_product_input_4x8bit_packed)
FN int dot4(uint a, uint b, int sum) { return sum + dot_4x8packed_ss_int(a, b); }
#else
FN int dot4(uint a, uint b, int sum) {
    int4 p = convert_int4(as_char4(a)) * convert_int4(as_char4(b));
    return sum + ((p.x + p.y) + (p.z + p.w));
}
#endif
FN void grid_wait(void) {}
FN void grid_release(void) {}

#else
#define KERNEL(size) extern "C" __global__ __launch_bounds__(size)
#define FN       static __device__ __forceinline__
#define GLOBAL
#define LOCAL    __shared__
#define BARRIER  __syncthreads()
#define LOCAL_ID ((int)threadIdx.x)
#define GROUP_X  ((int)blockIdx.x)
#define GROUP_Y  ((int)blockIdx.y)
#define AS_FLOAT(x) __uint_as_float(x)
#define AS_UINT(x)  __float_as_uint(x)
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long long wide;
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif

#ifdef FACET_EMULATOR /* tests/fake_cuda */
FN float half_to_float(uint bits) { return emulated->half_to_float((ushort)bits); }
FN uint float_to_half(float x) { return emulated->float_to_half(x); }
FN uint load_once(const uint *p) { return *p; }
FN void grid_wait() { emulated->grid_wait(); }
FN void grid_release() {}
#else
FN float half_to_float(uint bits) {
    float x;
    ushort h = (ushort)bits;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}
FN uint float_to_half(float x) {
    ushort h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
/* A weight: nobody writes it, and nobody reads it again soon. The load stays where it stands in the text. */
FN uint load_once(const uint *p) {
    uint word;
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(word) : "l"(p));
    return word;
}
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
FN void grid_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
FN void grid_release() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
#else
FN void grid_wait() {}
FN void grid_release() {}
#endif
#endif
FN int dot4(uint a, uint b, int sum) { return __dp4a((int)a, (int)b, sum); }
#define fma  fmaf
#define sqrt sqrtf
#define rint rintf
#define round roundf
#define fmax fmaxf
#endif

/* ---- what is only read: words of matrices, codes of activations four words at a time. They lie in buffers; with
 * USE_IMAGES (OpenCL alone) they are read through images over the same memory, which some devices cache better. A kernel
 * has a matrix as WORDS and begins at a `place` in it, PLACE_OF(words, i); functions take that as PLACE at and are given
 * AT(at). */
#ifdef USE_IMAGES
#define WORDS __read_only image1d_buffer_t
#define FOURS __read_only image1d_buffer_t
#define PLACE WORDS words, place
#define AT(at) words, at
#define PLACE_OF(words, i) ((place)(i))
#define WORD(at, i)        read_imageui(words, (at) + (i) * 32).x
typedef int place;
FN void load_four(FOURS codes, wide at, uint *out) {
    uint4 four = read_imageui(codes, (int)(at / 4));
    out[0] = four.x;
    out[1] = four.y;
    out[2] = four.z;
    out[3] = four.w;
}
#else
#define WORDS GLOBAL const uint *
#define FOURS GLOBAL const uint *
#define PLACE place
#define AT(at) at
#define PLACE_OF(words, i) ((words) + (i))
typedef GLOBAL const uint *place;
FN void load_four(FOURS codes, wide at, uint *out) {
#pragma unroll
    for (int i = 0; i < 4; i++) out[i] = codes[at + (wide)i];
}
#endif

/* Numbers from packed words. */
FN uint byte_at(uint word, int i) { return word >> 8 * i & 255; }
FN int signed_byte(uint word, int i) { return (int)(word << (24 - 8 * i)) >> 24; }

/* ---- functions, as the same sequences of IEEE operations as base/scalar_math.h */

FN float larger(float a, float b) { return a > b ? a : b; }
FN float power_of_two(int k) { return AS_FLOAT((uint)(k + 127) << 23); }

FN float exact_exp(float x) {
    x = x < 89.0f ? x : 89.0f;
    x = -104.0f > x ? -104.0f : x;
    float t = fma(x, 0x1.715476p+0f, 0x1.8p23f), k = t - 0x1.8p23f;
    int ki = (int)(AS_UINT(t) - AS_UINT(0x1.8p23f));
    float r = fma(k, 0x1.05c61p-29f, fma(k, -0x1.62e43p-1f, x));
    float p = fma(0x1.6dbc4cp-10f, r, 0x1.124136p-7f);
    p = fma(p, r, 0x1.555454p-5f);
    p = fma(p, r, 0x1.555488p-3f);
    p = fma(p, r, 0.5f);
    p = fma(p, r * r, r) + 1.0f;
    int all = (int)((uint)(ki & 511) << 23), part = all >> 24;
    return p * power_of_two(part) * power_of_two((all >> 23) - part);
}

FN float exact_tanh(float x) {
    float a = AS_FLOAT(AS_UINT(x) & 0x7fffffffu), z = a * a;
    float p = fma(0x1.246dfcp-9f, z, -0x1.0ee55cp-7f);
    p = fma(p, z, 0x1.6418d8p-6f);
    p = fma(p, z, -0x1.b9fa8ap-5f);
    p = fma(p, z, 0x1.11109ep-3f);
    p = fma(p, z, -0x1.555554p-2f);
    float small = fma(a * z, p, a), c = 10.0f < a ? 10.0f : a;
    float large = 1.0f - 2.0f / (exact_exp(c + c) + 1.0f);
    return AS_FLOAT(AS_UINT(a < 0.6f ? small : large) | (AS_UINT(x) & 0x80000000u));
}

FN float gelu(float x) {
    float inner = (0x1.988454p-1f * x) * fma(0.044715f, x * x, 1.0f);
    return (0.5f * x) * (1.0f + exact_tanh(inner));
}

/* ---- codes of activations by the contract's rule 1. A block is known by the bits of its largest magnitude: a NaN's are
 * larger than any number's. */

FN uint magnitude(float x) { return AS_UINT(x) & 0x7fffffffu; }
#define NO_CODES(largest) ((largest) <= 0x03fe0000u || (largest) >= 0x7f800000u) /* 127 * 2^-126, infinity */
FN float step_of(uint largest) {
    float d = largest <= 0x03fe0000u ? 0.0f : AS_FLOAT(largest) / 127.0f;
    return largest >= 0x7f800000u ? AS_FLOAT(0x7fc00000u) : d;
}
/* Four codes in a word; their sum is added to *sum. */
FN uint code_word(float a, float b, float c, float d, uint largest, int *sum) {
    if (NO_CODES(largest)) return 0;
    float inverse = 127.0f / AS_FLOAT(largest);
    int i = (int)rint(a * inverse), j = (int)rint(b * inverse), k = (int)rint(c * inverse), l = (int)rint(d * inverse);
    *sum += (i + j) + (k + l);
    return (uint)(i & 255) | (uint)(j & 255) << 8 | (uint)(k & 255) << 16 | (uint)(l & 255) << 24;
}

/* ---- what a group has in common. They are macros since pointers to local memory as arguments of functions, and
 * barriers behind conditions, are more than some compilers can take; and have few barriers, which cost time in the
 * compiler too. All work items get the result; `shared` has GROUP places. */

#define OF_TWO(shared, i) (shared[i] + shared[(i) + 8])
/* The contract's tree over the first sixteen work items' values. */
#define SUM_LANES(result, value, shared)                                                                              \
    do {                                                                                                              \
        BARRIER;                                                                                                      \
        if (LOCAL_ID < 16) shared[LOCAL_ID] = (value);                                                                \
        BARRIER;                                                                                                      \
        result = ((OF_TWO(shared, 0) + OF_TWO(shared, 4)) + (OF_TWO(shared, 2) + OF_TWO(shared, 6))) +                \
                 ((OF_TWO(shared, 1) + OF_TWO(shared, 5)) + (OF_TWO(shared, 3) + OF_TWO(shared, 7)));                 \
    } while (0)

/* The largest of every work item's value. */
#define GROUP_MAX(result, value, shared)                                                                              \
    do {                                                                                                              \
        BARRIER;                                                                                                      \
        shared[LOCAL_ID] = (value);                                                                                   \
        BARRIER;                                                                                                      \
        float max_part = shared[LOCAL_ID & 15];                                                                       \
        for (int max_i = 16; max_i < GROUP; max_i += 16) max_part = larger(shared[max_i + (LOCAL_ID & 15)], max_part); \
        BARRIER;                                                                                                      \
        if (LOCAL_ID < 16) shared[LOCAL_ID] = max_part;                                                               \
        BARRIER;                                                                                                      \
        result = shared[0];                                                                                           \
        for (int max_i = 1; max_i < 16; max_i++) result = larger(shared[max_i], result);                              \
    } while (0)

/* result = 1 / sqrt(mean square + eps) of n floats, ITEM(i) being the i-th, by the contract's rule 2. `shared` has
 * STAGE places, through which the floats come to the sixteen lanes. */
#define STAGE (8 * GROUP)
#define INVERSE_RMS(result, ITEM, n, eps, shared)                                                                     \
    do {                                                                                                              \
        float rms_sum = 0;                                                                                            \
        for (int rms_at = 0; rms_at < (n); rms_at += STAGE) {                                                         \
            BARRIER;                                                                                                  \
            for (int rms_i = LOCAL_ID; rms_i < STAGE && rms_at + rms_i < (n); rms_i += GROUP)                         \
                shared[rms_i] = ITEM(rms_at + rms_i);                                                                 \
            BARRIER;                                                                                                  \
            for (int rms_i = LOCAL_ID; LOCAL_ID < 16 && rms_i < STAGE && rms_at + rms_i < (n); rms_i += 16)           \
                rms_sum = fma(shared[rms_i], shared[rms_i], rms_sum);                                                 \
        }                                                                                                             \
        float rms_all;                                                                                                \
        SUM_LANES(rms_all, rms_sum, shared);                                                                          \
        result = 1.0f / sqrt(rms_all / (float)(n) + (eps));                                                         \
    } while (0)
