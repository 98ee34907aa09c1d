// CUDA C for the host's C++ compiler: what the kernels use of the language and its intrinsics, by their manuals. Stands
// before a kernel's text; see emulator.h.
#include <math.h>
#include <string.h>

#include <utility>

#include "hooks.h"

extern "C" {
emulated_hooks *emulated;
}

#define threadIdx (emulated->thread)
#define blockIdx  (emulated->block)
#define blockDim  (emulated->block_size)
#define gridDim   (emulated->grid_size)
#define __global__ emulated_kernel
#define __device__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("emulated_shared")))
#define __CUDA_ARCH_LIST__ EMULATED_CAPABILITY
__shared__ int emulated_there_is_shared_memory __attribute__((used));

struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
struct int2 { int x, y; };
struct int4 { int x, y, z, w; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

template <typename To, typename From> static inline To emulated_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "one size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __uint_as_float(unsigned u) { return emulated_cast<float>(u); }
static inline float __int_as_float(int i) { return emulated_cast<float>(i); }
static inline unsigned __float_as_uint(float f) { return emulated_cast<unsigned>(f); }
static inline int __float_as_int(float f) { return emulated_cast<int>(f); }

static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline int __float2int_rn(float f) { return (int)rintf(f); }
static inline float __int2float_rn(int i) { return (float)i; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline int __popc(unsigned u) { return __builtin_popcount(u); }
static inline int __ffs(int i) { return __builtin_ffs(i); }
static inline int __clz(int i) { return i ? __builtin_clz((unsigned)i) : 32; }

static inline int __dp4a(int a, int b, int sum) {
    for (int i = 0; i < 32; i += 8) sum += (int)(signed char)(a >> i) * (int)(signed char)(b >> i);
    return sum;
}
/* Byte i of the result is byte s[4 i + 2 .. 4 i] of y:x; bit 3 of a selector would repeat its sign. */
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
    unsigned long long all = (unsigned long long)y << 32 | x;
    unsigned out = 0;
    for (int i = 0; i < 4; i++) {
        unsigned byte = (unsigned)(all >> 8 * (s >> 4 * i & 7)) & 255;
        out |= (s >> 4 * i & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;
    }
    return out;
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return (unsigned)(((unsigned long long)high << 32 | low) >> (shift & 31));
}

template <typename T> static inline T __ldg(const T *p) { return *p; }
template <typename T> static inline T __ldcs(const T *p) { return *p; }
static inline void __threadfence() {}
static inline void __syncthreads() { emulated->barrier(); }

/* Threads run one at a time: everything is atomic. */
template <typename T> static inline T atomicAdd(T *p, T v) { T old = *p; *p = old + v; return old; }
template <typename T> static inline T atomicMax(T *p, T v) { T old = *p; *p = old > v ? old : v; return old; }
template <typename T> static inline T atomicMin(T *p, T v) { T old = *p; *p = old < v ? old : v; return old; }
template <typename T> static inline T atomicExch(T *p, T v) { T old = *p; *p = v; return old; }
static inline unsigned atomicInc(unsigned *p, unsigned most) { unsigned old = *p; *p = old >= most ? 0 : old + 1; return old; }
template <typename T> static inline T atomicCAS(T *p, T compare, T v) { T old = *p; if (old == compare) *p = v; return old; }

/* ---- warps */

static inline int emulated_lane() { return (int)(emulated->thread.x % EMULATED_WARP); }
template <typename T> static inline const emulated_lanes &emulated_share(unsigned mask, T v) {
    static_assert(sizeof(T) == 4, "words");
    uint32_t word = emulated_cast<uint32_t>(v);
    return *emulated->exchange(mask, &word, 1);
}
static inline void __syncwarp(unsigned mask = 0xffffffffu) { emulated_share(mask, 0); }
template <typename T> static inline T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
    int lane = emulated_lane(), first = lane / width * width;
    return emulated_cast<T>(emulated_share(mask, v)[first + from % width][0]);
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
    int lane = emulated_lane(), from = lane ^ bits;
    const emulated_lanes &all = emulated_share(mask, v);
    return from / width > lane / width ? v : emulated_cast<T>(all[from][0]);
}
template <typename T> static inline T __shfl_down_sync(unsigned mask, T v, int n, int width = 32) {
    int lane = emulated_lane(), from = lane + n;
    const emulated_lanes &all = emulated_share(mask, v);
    return lane % width + n >= width ? v : emulated_cast<T>(all[from][0]);
}
template <typename T> static inline T __shfl_up_sync(unsigned mask, T v, int n, int width = 32) {
    int lane = emulated_lane(), from = lane - n;
    const emulated_lanes &all = emulated_share(mask, v);
    return lane % width < n ? v : emulated_cast<T>(all[from][0]);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const emulated_lanes &all = emulated_share(mask, (int)(predicate != 0));
    unsigned votes = 0;
    for (int i = 0; i < EMULATED_WARP; i++) votes |= (mask >> i & 1 ? all[i][0] : 0) << i;
    return votes;
}
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

/* ---- matrix instructions, by the tables of fragments in PTX's manual (mma.m16n8k32, .m16n8k16, .m8n8k16 for .s8).
 * d += a b; every lane gives its part of a and b and has its part of d. */

static inline int emulated_byte(uint32_t word, int i) { return (signed char)(word >> 8 * i); }

/* A: rows g and g + 8 in registers 0 and 1 (and 2 and 3 for the upper half of k), B: column g; k = 4 t + byte, where
 * lane = 4 g + t. D: row g (8 + g for d[2], d[3]), columns 2 t and 2 t + 1. */
static inline void emulated_mma_m16n8(int *d, const uint32_t *a, const uint32_t *b, int k_words) {
    uint32_t words[EMULATED_WORDS];
    int n_a = k_words / 2, n_b = k_words / 4, lane = emulated_lane();
    for (int i = 0; i < n_a; i++) words[i] = a[i];
    for (int i = 0; i < n_b; i++) words[n_a + i] = b[i];
    const emulated_lanes &all = *emulated->exchange(0xffffffffu, words, n_a + n_b);
    for (int i = 0; i < 4; i++) {
        int row = lane / 4, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 4 * k_words; k++) {
            int t = k % 16 / 4, upper = k / 16;
            d[i] += emulated_byte(all[row * 4 + t][2 * upper + i / 2], k % 4) *
                    emulated_byte(all[column * 4 + t][n_a + upper], k % 4);
        }
    }
}
static inline void emulated_mma_m8n8k16(int *d, uint32_t a, uint32_t b) {
    uint32_t words[2] = {a, b};
    int lane = emulated_lane();
    const emulated_lanes &all = *emulated->exchange(0xffffffffu, words, 2);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 16; k++)
            d[i] += emulated_byte(all[lane / 4 * 4 + k / 4][0], k % 4) *
                    emulated_byte(all[(lane % 4 * 2 + i) * 4 + k / 4][1], k % 4);
    }
}

/* ---- a launch: arguments by the kernel's own types */

template <typename... A, size_t... I>
static inline void emulated_apply(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*(A *)arguments[I]...);
}
template <typename... A> static inline void emulated_call(void (*kernel)(A...), void **arguments) {
    emulated_apply(kernel, arguments, std::index_sequence_for<A...>{});
}
template <typename... A> static inline const size_t *emulated_arguments(void (*)(A...)) {
    static const size_t sizes[] = {sizeof(A)..., 0};
    return sizes;
}
