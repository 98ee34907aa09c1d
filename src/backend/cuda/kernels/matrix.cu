/* What CUDA has beyond the dialect: matrix instructions on bytes, and copies to shared memory that run beside the
 * arithmetic. Below the capabilities that have them (8.0) they are made of what is there; the emulator
 * (tests/fake_cuda) has functions by the manuals' tables. */

#define FULL_WARP 0xffffffffu

/* d += A B, A: 16 rows, B: 8 columns, over 32 or 16 bytes. Lane 4 g + t has rows g and g + 8 of A, column g of B, and of
 * d the rows g, g, g + 8, g + 8 in the columns 2 t and 2 t + 1. a: words t of row g, of row g + 8, then words 4 + t of
 * both; b: words t and 4 + t. (Which bytes of k a lane has does not matter as long as A and B agree.) */
#if defined(FACET_EMULATOR) && __CUDA_ARCH__ >= 800
FN void mma32(int *d, const uint *a, const uint *b) { emulated_mma_m16n8(d, a, b, 8); }
FN void mma16(int *d, const uint *a, uint b) { emulated_mma_m16n8(d, a, &b, 4); }
#elif __CUDA_ARCH__ >= 800
FN void mma32(int *d, const uint *a, const uint *b) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
FN void mma16(int *d, const uint *a, uint b) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b));
}
#else
#ifdef FACET_EMULATOR
FN void mma8(int *d, uint a, uint b) { emulated_mma_m8n8k16(d, a, b); }
#else
FN void mma8(int *d, uint a, uint b) {
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+r"(d[0]), "+r"(d[1])
        : "r"(a), "r"(b));
}
#endif
FN void mma16(int *d, const uint *a, uint b) {
    mma8(d, a[0], b);
    mma8(d + 2, a[1], b);
}
FN void mma32(int *d, const uint *a, const uint *b) {
    mma16(d, a, b[0]);
    mma16(d, a + 2, b[1]);
}
#endif

/* Copies of 16 or 4 bytes, aligned to their size, which copies_wait brings to an end for the thread that began them. */
#if __CUDA_ARCH__ >= 800 && !defined(FACET_EMULATOR)
FN void copy16(void *to, const void *from) {
    uint at = (uint)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}
FN void copy4(void *to, const void *from) {
    uint at = (uint)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(at), "l"(from) : "memory");
}
FN void copies_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }
#else
FN void copy16(void *to, const void *from) { *(uint4 *)to = *(const uint4 *)from; }
FN void copy4(void *to, const void *from) { *(uint *)to = *(const uint *)from; }
FN void copies_wait() {}
#endif
