/* See fiber.h. A switch saves the registers that a function keeps for its caller, and the stack's pointer; on
 * processors without the few lines of assembly below the C library's contexts do it, more slowly. */
#include "fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { STACK_BYTES = 128 << 10 };

/* AddressSanitizer wants to know on which stack it is. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define LEAVE_STACK(save, to, size)   __sanitizer_start_switch_fiber(save, to, size)
#define ENTER_STACK(save, from, size) __sanitizer_finish_switch_fiber(save, from, size)
#else
#define LEAVE_STACK(save, to, size)   ((void)(save), (void)(to), (void)(size))
#define ENTER_STACK(save, from, size) ((void)(save), (void)(from), (void)(size))
#endif

struct fibers {
    size_t most, current;
    void (*run)(size_t index, void *ctx);
    void *ctx;
    char *stacks;
    bool *done;
    const void *caller_stack; /* and its size: of who runs the fibers */
    size_t caller_bytes;
#ifdef __x86_64__
    void **at, *caller; /* the stacks' pointers */
#else
    ucontext_t *at, caller;
#endif
};

static void body(fibers *f) {
    ENTER_STACK(NULL, &f->caller_stack, &f->caller_bytes);
    f->run(f->current, f->ctx);
    f->done[f->current] = true;
    fibers_give_way(f);
}

#ifdef __x86_64__
void fiber_switch(void **save, void *to);
__asm__(".text\n.global fiber_switch\n.hidden fiber_switch\n.type fiber_switch, @function\nfiber_switch:\n"
        "push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\nret\n"
        ".global fiber_begin\n.hidden fiber_begin\n.type fiber_begin, @function\nfiber_begin:\n"
        "mov %r12, %rdi\ncall *%r13\nud2\n");
void fiber_begin(void);

/* A stack as fiber_switch leaves one: six registers, the address to return to. */
void fibers_restart(fibers *f, size_t i) {
    void **top =
        (void **)(void *)(f->stacks + (i + 1) * STACK_BYTES) - 2; /* aligned to 16 where fiber_begin begins */
    top[-1] = (void *)(uintptr_t)fiber_begin;
    for (int k = 2; k <= 7; k++) top[-k] = NULL;
    top[-4] = f;                       /* r12 */
    top[-5] = (void *)(uintptr_t)body; /* r13 */
    f->at[i] = top - 7;
    f->done[i] = false;
}

static void to_fiber(fibers *f) { fiber_switch(&f->caller, f->at[f->current]); }
static void to_caller(fibers *f) { fiber_switch(&f->at[f->current], f->caller); }
#else
static void begin(unsigned high, unsigned low) { body((fibers *)(uintptr_t)((uint64_t)high << 32 | low)); }

void fibers_restart(fibers *f, size_t i) {
    uint64_t self = (uint64_t)(uintptr_t)f;
    getcontext(&f->at[i]);
    f->at[i].uc_stack.ss_sp = f->stacks + i * STACK_BYTES;
    f->at[i].uc_stack.ss_size = STACK_BYTES;
    f->at[i].uc_link = NULL;
    makecontext(&f->at[i], (void (*)(void))(uintptr_t)begin, 2, (unsigned)(self >> 32), (unsigned)self);
    f->done[i] = false;
}

static void to_fiber(fibers *f) { swapcontext(&f->caller, &f->at[f->current]); }
static void to_caller(fibers *f) { swapcontext(&f->at[f->current], &f->caller); }
#endif

bool fibers_turn(fibers *f, size_t index) {
    void *own = NULL;
    f->current = index;
    LEAVE_STACK(&own, f->stacks + index * STACK_BYTES, STACK_BYTES);
    to_fiber(f);
    ENTER_STACK(own, NULL, NULL);
    return f->done[index];
}

void fibers_give_way(fibers *f) {
    void *own = NULL;
    LEAVE_STACK(f->done[f->current] ? NULL : &own, f->caller_stack, f->caller_bytes);
    to_caller(f);
    ENTER_STACK(own, &f->caller_stack, &f->caller_bytes);
}

fibers *fibers_new(size_t most, void (*run)(size_t index, void *ctx), void *ctx) {
    fibers *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    void *stacks = mmap(NULL, most * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *f = (fibers){.most = most, .run = run, .ctx = ctx, .stacks = stacks == MAP_FAILED ? NULL : stacks};
    f->done = calloc(most, sizeof *f->done);
    f->at = calloc(most, sizeof *f->at);
    if (f->stacks && f->done && f->at) return f;
    fibers_free(f);
    return NULL;
}

void fibers_free(fibers *f) {
    if (!f) return;
    if (f->stacks) munmap(f->stacks, f->most * STACK_BYTES);
    free(f->done);
    free(f->at);
    free(f);
}
