// Vectors of numbers by the compilers' vector extensions, and the activations of the gates on them.
//
// One source serves every instruction set: RNNLAB_VECTOR_BYTES says how wide a vector is, the compiler how to do it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define RNNLAB_INLINE inline __attribute__((always_inline))
#define RNNLAB_INLINE_LAMBDA __attribute__((always_inline))

namespace rnnlab::RNNLAB_ISA {

template <class T> struct vector_of {
    typedef T type __attribute__((vector_size(RNNLAB_VECTOR_BYTES)));
};
template <class T> using Vector = typename vector_of<T>::type;
template <class T> constexpr int lanes = RNNLAB_VECTOR_BYTES / sizeof(T);

template <class T> RNNLAB_INLINE Vector<T> load(const T *p) {
    Vector<T> v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
template <class T> RNNLAB_INLINE void store(T *p, Vector<T> v) {
    __builtin_memcpy(p, &v, sizeof v);
}

// The first n numbers only; a loaded vector's others are 0. n is at least 1.
template <class T> RNNLAB_INLINE Vector<T> load(const T *p, int64_t n) {
    if (__builtin_expect(n >= lanes<T>, 1)) return load(p);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return (Vector<T>)_mm512_maskz_loadu_epi32((1u << n) - 1, p);
    else
        return (Vector<T>)_mm512_maskz_loadu_epi64((1u << n) - 1, p);
#else
    Vector<T> v = {};
    std::memcpy(&v, p, n * sizeof(T));
    return v;
#endif
}
template <class T> RNNLAB_INLINE void store(T *p, Vector<T> v, int64_t n) {
    if (__builtin_expect(n >= lanes<T>, 1)) return store(p, v);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        _mm512_mask_storeu_epi32(p, (1u << n) - 1, (__m512i)v);
    else
        _mm512_mask_storeu_epi64(p, (1u << n) - 1, (__m512i)v);
#else
    std::memcpy(p, &v, n * sizeof(T));
#endif
}

template <class T> RNNLAB_INLINE Vector<T> all(T x) {
    return Vector<T>{} + x;
}

// Comparisons with nan are false, so both keep it.
template <class T> RNNLAB_INLINE Vector<T> clamp(Vector<T> x, T low, T high) {
    x = x < low ? all<T>(low) : x;
    return x > high ? all<T>(high) : x;
}
template <class T> RNNLAB_INLINE Vector<T> relu(Vector<T> x) {
    return x < T(0) ? Vector<T>{} : x;
}

// v[i][j] and v[j][i] change places: blocks of 1, 2, 4... lanes beside the diagonal, one size after the other.
template <class T, int step, size_t... lane>
RNNLAB_INLINE void swap_blocks(Vector<T> *v, std::index_sequence<lane...>) {
    constexpr int L = lanes<T>;
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) {
        if (i & step) continue;
        const Vector<T> a = v[i], b = v[i + step];
        v[i] = __builtin_shufflevector(a, b, (lane & step ? L + lane - step : lane)...);
        v[i + step] = __builtin_shufflevector(a, b, (lane & step ? L + lane : lane + step)...);
    }
    if constexpr (2 * step < L) swap_blocks<T, 2 * step>(v, std::index_sequence<lane...>{});
}
template <class T> RNNLAB_INLINE void transpose(Vector<T> *v) {
    swap_blocks<T, 1>(v, std::make_index_sequence<lanes<T>>{});
}

template <class T> struct Exponential;
template <> struct Exponential<float> {
    using Bits = int32_t;
    static constexpr float log2_e = 1.44269504088896341f, ln2_high = 0.693359375f, ln2_low = -2.12194440054690583e-4f;
    static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    static constexpr float lowest = -87.0f, highest = 88.0f, tanh_is_one = 9.1f;
    static constexpr int mantissa = 23, bias = 127, degree = 7;
};
template <> struct Exponential<double> {
    using Bits = int64_t;
    static constexpr double log2_e = 1.4426950408889634074, ln2_high = 6.93145751953125e-1,
                            ln2_low = 1.42860682030941723212e-6;
    static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr double lowest = -708.0, highest = 709.0, tanh_is_one = 19.1;
    static constexpr int mantissa = 52, bias = 1023, degree = 13;
};

constexpr double reciprocal_factorial(int n) {
    double product = 1;
    for (int k = 2; k <= n; ++k) product *= k;
    return 1 / product;
}

// exp(x) - 1 with full relative accuracy near 0: x = n ln 2 + r with |r| <= ln 2 / 2, Taylor's series of exp(r) - 1
// (its remainder is below half a unit in the last place), then 2^n (p + 1) - 1 = 2^n p + (2^n - 1).
template <class T> RNNLAB_INLINE Vector<T> expm1(Vector<T> x) {
    using E = Exponential<T>;
    using Bits = Vector<typename E::Bits>;
    x = clamp<T>(x, E::lowest, E::highest);
    Vector<T> shifted = x * E::log2_e + E::round;
    Vector<T> n = shifted - E::round;
    Vector<T> r = x - n * E::ln2_high;
    r = r - n * E::ln2_low;
    Vector<T> p = all<T>(T(reciprocal_factorial(E::degree)));
#pragma GCC unroll 16
    for (int k = E::degree - 1; k >= 2; --k) p = p * r + T(reciprocal_factorial(k));
    p = p * (r * r) + r;
    Bits exponent = (Bits)shifted - (Bits)all<T>(E::round) + E::bias;
    Vector<T> power = (Vector<T>)(exponent << E::mantissa);
    return power * p + (power - T(1));
}
// exp(x) for x up to `highest`, with full relative accuracy; numbers below the smallest normal one come out as about
// that.
template <class T> RNNLAB_INLINE Vector<T> exp(Vector<T> x) {
    using E = Exponential<T>;
    using Bits = Vector<typename E::Bits>;
    x = x < E::lowest ? all<T>(E::lowest) : x;
    const Vector<T> shifted = x * E::log2_e + E::round, n = shifted - E::round;
    const Vector<T> r = (x - n * E::ln2_high) - n * E::ln2_low;
    Vector<T> p = all<T>(T(reciprocal_factorial(E::degree)));
#pragma GCC unroll 16
    for (int k = E::degree - 1; k >= 0; --k) p = p * r + T(reciprocal_factorial(k));
    return p * (Vector<T>)(((Bits)shifted - (Bits)all<T>(E::round) + E::bias) << E::mantissa);
}
template <class T> RNNLAB_INLINE Vector<T> sigmoid(Vector<T> x) {
    return T(1) / (T(2) + expm1<T>(-x));
}
template <class T> RNNLAB_INLINE Vector<T> tanh(Vector<T> x) {
    constexpr T bound = Exponential<T>::tanh_is_one;
    Vector<T> e = expm1<T>(T(2) * clamp<T>(x, -bound, bound));
    return e / (e + T(2));
}

// Slopes, from the activated value.
template <class T> RNNLAB_INLINE Vector<T> sigmoid_slope(Vector<T> s) {
    return s * (T(1) - s);
}
template <class T> RNNLAB_INLINE Vector<T> tanh_slope(Vector<T> t) {
    return T(1) - t * t;
}

}  // namespace rnnlab::RNNLAB_ISA
