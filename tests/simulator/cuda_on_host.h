// What CUDA C has built in, as far as born's kernels use it, for a C++ compiler and one thread
// of the host. What is the same for every kernel is in cuda_on_host.cpp, compiled once.
//
// No header of C++ is included, because they take longer to compile than the kernels.

#include <string.h>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

// Each kernel's shared memory lies in a section of its own, so that it can be found.
#define __shared__ static __attribute__((section(SHARED_SECTION)))

#define DYNAMIC_SHARED(type, name, count) __shared__ type __attribute__((aligned(16))) name[count]

// ---- the launch's names -------------------------------------------------------------------------

struct Extent { unsigned x; };
extern Extent blockIdx, blockDim, gridDim;
extern volatile Extent threadIdx;  // changes whenever a fiber waits, out of the compiler's sight

// ---- the threads of a block, see cuda_on_host.cpp ------------------------------------------------

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, FINISHED };

static const unsigned WARP = 32, MOST_THREADS = 1024;

// Waits until all threads, or the lanes named by `mask`, have come to the barrier as well.
void wait(State state, unsigned mask, int line);

// ---- what threads do together -------------------------------------------------------------------

inline void __syncthreads(int line = __builtin_LINE()) {
    wait(AT_BLOCK_BARRIER, 0xffffffffu, line);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
    wait(AT_WARP_BARRIER, mask, line);
}

// The value of another lane; what lies outside of the mask is undefined, and all ones here.
template <class T> T exchanged(unsigned mask, T value, unsigned from, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles take 4 or 8 bytes");
    static T values[MOST_THREADS];
    unsigned me = threadIdx.x, first = me / WARP * WARP;
    values[me] = value;
    wait(AT_WARP_BARRIER, mask, line);
    T result;
    memset(&result, 0xff, sizeof result);
    if (mask >> from & 1) result = values[first + from];
    wait(AT_WARP_BARRIER, mask, line);  // no lane writes its next value before all have read
    return result;
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, int line = __builtin_LINE()) {
    unsigned lane = threadIdx.x % WARP, group = lane / width * width;
    return exchanged(mask, value, group + (unsigned)from % width, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, int line = __builtin_LINE()) {
    unsigned lane = threadIdx.x % WARP, from = lane ^ (unsigned)bits;
    return exchanged(mask, value, from < (lane / width + 1) * width ? from : lane, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32,
                   int line = __builtin_LINE()) {
    unsigned lane = threadIdx.x % WARP, from = lane + by;
    return exchanged(mask, value, from < (lane / width + 1) * width ? from : lane, line);
}

// Only the types that the device has it for.
#define ATOMIC_ADD(T)                    \
    inline T atomicAdd(T *place, T by) { \
        T old = *place;                  \
        *place += by;                    \
        return old;                      \
    }
ATOMIC_ADD(int)
ATOMIC_ADD(unsigned)
ATOMIC_ADD(unsigned long long)
ATOMIC_ADD(float)
ATOMIC_ADD(double)
inline unsigned atomicOr(unsigned *place, unsigned by) {
    unsigned old = *place;
    *place |= by;
    return old;
}
inline void __threadfence() {}

// ---- float16: a device's instructions ------------------------------------------------------------

inline float float_of_half(unsigned short h) {
    unsigned sign = (unsigned)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, fraction = h & 1023u;
    unsigned bits = sign | ((exponent + 112u) << 23) | (fraction << 13);
    if (exponent == 31u) bits = sign | 0x7f800000u | (fraction << 13);
    float x = (float)fraction * 5.9604644775390625e-08f;  // 2^-24
    if (!exponent) return sign ? -x : x;
    memcpy(&x, &bits, 4);
    return x;
}

inline unsigned short half_of(double x) {
    unsigned long long bits;
    memcpy(&bits, &x, 8);
    unsigned short sign = (unsigned short)((bits >> 48) & 0x8000u);
    unsigned long long magnitude = bits & 0x7fffffffffffffffull;
    if (magnitude > 0x7ff0000000000000ull) return sign | 0x7e00u;
    double size, shift;
    memcpy(&size, &magnitude, 8);
    if (size >= 65520.0) return sign | 0x7c00u;
    // Adding a power of two this large leaves the float16's last bit as the sum's own.
    int exponent = (int)(magnitude >> 52) - 1023;
    if (exponent < -14) exponent = -14;
    bits = (unsigned long long)(exponent - 10 + 52 + 1023) << 52;
    memcpy(&shift, &bits, 8);
    double rounded = (size + shift) - shift;
    if (rounded < 6.103515625e-05) return sign | (unsigned short)(rounded * 16777216.0);  // 2^-14
    memcpy(&bits, &rounded, 8);
    return sign | (unsigned short)((((bits >> 52) - 1008u) << 10) | ((bits >> 42) & 1023u));
}
inline unsigned short half_of(float x) { return half_of((double)x); }

// ---- arithmetic ---------------------------------------------------------------------------------

// Under its C names and, as in CUDA, under one name for both types.
#define FUNCTION1(name)                    \
    extern "C" double name(double) noexcept;   \
    extern "C" float name##f(float) noexcept;  \
    inline float name(float x) { return name##f(x); }
#define FUNCTION2(name)                            \
    extern "C" double name(double, double) noexcept;   \
    extern "C" float name##f(float, float) noexcept;   \
    inline float name(float x, float y) { return name##f(x, y); }
FUNCTION1(exp)
FUNCTION1(expm1)
FUNCTION1(log)
FUNCTION1(log1p)
FUNCTION1(sqrt)
FUNCTION1(sin)
FUNCTION1(cos)
FUNCTION1(tanh)
FUNCTION1(erf)
FUNCTION1(fabs)
FUNCTION1(floor)
FUNCTION1(ceil)
FUNCTION1(rint)
FUNCTION2(pow)
FUNCTION2(fmod)
FUNCTION2(fmax)
FUNCTION2(fmin)
FUNCTION2(copysign)
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
template <class T> bool isnan(T x) { return x != x; }
template <class T> bool isinf(T x) { return __builtin_isinf(x); }
template <class T> bool isfinite(T x) { return __builtin_isfinite(x); }
template <class T> T min(T x, T y) { return y < x ? y : x; }
template <class T> T max(T x, T y) { return x < y ? y : x; }

inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)((unsigned __int128)x * y >> 64);
}

// ---- a kernel's parameters, and its launch ------------------------------------------------------

// What NumPy calls a parameter's type; a type without a name cannot be a parameter.
template <class T> struct Named;
template <class T> struct Named<const T *> : Named<T *> {};
#define NAMED(T, name)                                                            \
    template <> struct Named<T> { static constexpr const char *text = name; };    \
    template <> struct Named<T *> { static constexpr const char *text = name "*"; };
NAMED(float, "float32")
NAMED(double, "float64")
NAMED(bool, "bool")
NAMED(unsigned char, "uint8")
NAMED(unsigned short, "uint16")
NAMED(int, "int32")
NAMED(unsigned, "uint32")
NAMED(long long, "int64")
NAMED(unsigned long long, "uint64")
template <> struct Named<void *> { static constexpr const char *text = "void*"; };

template <int... I> struct Numbers {};
template <int N, int... I> struct UpTo : UpTo<N - 1, N - 1, I...> {};
template <int... I> struct UpTo<0, I...> { typedef Numbers<I...> type; };

extern void **arguments;

template <auto kernel> struct Launch;
template <class... A, void (*kernel)(A...)> struct Launch<kernel> {
    template <int... I> static void call(Numbers<I...>) { kernel(*(A *)arguments[I]...); }
    static void thread() { call(typename UpTo<sizeof...(A)>::type()); }
    static constexpr const char *parameters[] = {Named<A>::text..., nullptr};
};

// What the host asks for. Without orders, blocks and threads run as they are counted.
struct Order {
    unsigned blocks, threads;
    const unsigned *block_order, *thread_order;
    bool synchronises;
};

// Runs all threads, and says what was wrong.
const char *launched(void (*thread)(), const Order &order, void **values, char *shared,
                     char *shared_end);

// The symbols of one kernel: the names of its parameters, and its launch.
#define EXPORTED(id, kernel)                                                                   \
    extern "C" __attribute__((weak, visibility("hidden"))) char __start_shared_##id[];         \
    extern "C" __attribute__((weak, visibility("hidden"))) char __stop_shared_##id[];          \
    extern "C" __attribute__((visibility("default"))) const char *const *parameters_##id() {   \
        return Launch<kernel>::parameters;                                                     \
    }                                                                                          \
    extern "C" __attribute__((visibility("default"))) const char *launch_##id(                 \
        const Order *order, void **values) {                                                   \
        return launched(Launch<kernel>::thread, *order, values, __start_shared_##id,           \
                        __stop_shared_##id);                                                   \
    }
