// How threads run: see cuda_on_host.h. Blocks run one after another. The threads of a block that
// synchronise are fibers: each runs until it waits for others, and what the device would leave
// undefined is an error.

#include "cuda_on_host.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

Extent blockIdx, blockDim, gridDim;
volatile Extent threadIdx;
void **arguments;

// ---- faults: the launch ends, and says why ------------------------------------------------------

static char fault_text[256];
static jmp_buf fault_exit;

[[noreturn]] static void fault(const char *what, unsigned line = 0) {
    int written = __builtin_snprintf(fault_text, sizeof fault_text, "%s (thread %u of block %u",
                                     what, threadIdx.x, blockIdx.x);
    const char *rest = line ? ", line %u)" : ")";
    __builtin_snprintf(fault_text + written, sizeof fault_text - written, rest, line);
    _longjmp(fault_exit, 1);
}

// What -fsanitize compiles into the text calls these; no runtime library is needed.
struct SanitizedPlace { const char *file; unsigned line, column; };
#define FAULT(name, what)                                                            \
    extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_##name(      \
        SanitizedPlace *place, ...) {                                                 \
        fault(what, place->line);                                                     \
    }
FAULT(type_mismatch_v1, "an access that is not aligned")
FAULT(out_of_bounds, "an index out of an array's bounds")
FAULT(shift_out_of_bounds, "a shift by more bits than there are")
FAULT(add_overflow, "a sum that overflows")
FAULT(sub_overflow, "a difference that overflows")
FAULT(mul_overflow, "a product that overflows")
FAULT(negate_overflow, "a negation that overflows")
FAULT(divrem_overflow, "an integer division by zero")

// Behind an array lies a page that is not to be touched: see Memory in machine.py.
static void outside(int) { fault("an access outside of all memory"); }

// ---- the threads of a block ---------------------------------------------------------------------

struct Fiber {
    ucontext_t start;
    jmp_buf point;
    State state;
    bool started;
    unsigned mask;  // with whom it waits
    int line;       // where it waits
};

static const unsigned STACK = 65536;
static Fiber fibers[MOST_THREADS];
static jmp_buf scheduler;
static void (*volatile body)();

static void fiber_main() {
    for (;;) {  // a fiber serves block after block
        body();
        Fiber &me = fibers[threadIdx.x];
        me.state = FINISHED;
        if (!_setjmp(me.point)) _longjmp(scheduler, 1);
    }
}

void wait(State state, unsigned mask, int line) {
    Fiber &me = fibers[threadIdx.x];
    me.state = state;
    me.mask = mask;
    me.line = line;
    if (!_setjmp(me.point)) _longjmp(scheduler, 1);
}

static void resume(unsigned number) {
    Fiber &fiber = fibers[number];
    threadIdx.x = number;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.point, 1);
    fiber.started = true;
    setcontext(&fiber.start);
}

// Lets threads `first` to `last` go on that wait for one another, if all of them have arrived.
static bool released(State state, unsigned first, unsigned last, unsigned mask) {
    int line = 0;
    for (unsigned i = first; i < last; ++i) {
        if (!(mask >> (i % WARP) & 1)) continue;
        Fiber &fiber = fibers[i];
        threadIdx.x = i;
        if (fiber.state == FINISHED) fault("a thread that has left the kernel is waited for");
        if (fiber.state != state || fiber.mask != mask) return false;
        if (line && fiber.line != line) fault("threads wait for one another in two places", line);
        line = fiber.line;
    }
    for (unsigned i = first; i < last; ++i)
        if (mask >> (i % WARP) & 1) fibers[i].state = READY;
    return true;
}

static bool released_with(unsigned number) {
    Fiber &fiber = fibers[number];
    if (fiber.state == AT_BLOCK_BARRIER)
        return released(AT_BLOCK_BARRIER, 0, blockDim.x, 0xffffffffu);
    unsigned first = number / WARP * WARP;
    threadIdx.x = number;
    if (!(fiber.mask >> (number - first) & 1)) fault("a thread is not in its own mask", fiber.line);
    for (unsigned lane = 0; lane < WARP; ++lane)
        if ((fiber.mask >> lane & 1) && first + lane >= blockDim.x)
            fault("a mask names a lane that the block has not", fiber.line);
    return released(AT_WARP_BARRIER, first, first + WARP, fiber.mask);
}

static void run_fibers(const unsigned *order) {
    unsigned finished = 0;
    for (unsigned i = 0; i < blockDim.x; ++i) fibers[i].state = READY;
    while (finished < blockDim.x) {
        bool moved = false;
        for (unsigned i = 0; i < blockDim.x; ++i) {
            unsigned number = order ? order[i] : i;
            if (fibers[number].state != READY) continue;
            resume(number);
            moved = true;
            finished += fibers[number].state == FINISHED;
        }
        for (unsigned i = 0; i < blockDim.x; ++i)
            if (fibers[i].state == AT_BLOCK_BARRIER || fibers[i].state == AT_WARP_BARRIER)
                moved |= released_with(i);
        if (!moved) fault("threads wait for one another for ever");
    }
}

static void make_fibers() {
    static char *stacks;
    if (!stacks)
        stacks = (char *)mmap(0, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (unsigned i = 0; i < blockDim.x; ++i) {
        Fiber &fiber = fibers[i];
        fiber.started = false;
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = stacks + (size_t)i * STACK;
        fiber.start.uc_stack.ss_size = STACK;
        makecontext(&fiber.start, fiber_main, 0);
    }
}

// ---- the launch ---------------------------------------------------------------------------------

const char *launched(void (*thread)(), const Order &order, void **values, char *shared,
                     char *shared_end) {
    if (order.threads > MOST_THREADS) return "a block of more than 1024 threads";
    struct sigaction caught = {}, before;
    caught.sa_handler = outside;
    caught.sa_flags = SA_NODEFER;  // the handler never returns
    sigaction(SIGSEGV, &caught, &before);
    if (_setjmp(fault_exit)) {
        sigaction(SIGSEGV, &before, nullptr);
        return fault_text;
    }
    arguments = values;
    body = thread;
    gridDim.x = order.blocks;
    blockDim.x = order.threads;
    if (order.synchronises) make_fibers();
    for (unsigned block = 0; block < order.blocks; ++block) {
        blockIdx.x = order.block_order ? order.block_order[block] : block;
        if (shared) memset(shared, 0xff, shared_end - shared);  // it starts undefined
        if (order.synchronises) {
            run_fibers(order.thread_order);
            continue;
        }
        for (unsigned i = 0; i < order.threads; ++i) {
            threadIdx.x = order.thread_order ? order.thread_order[i] : i;
            thread();
        }
    }
    sigaction(SIGSEGV, &before, nullptr);
    return nullptr;
}
