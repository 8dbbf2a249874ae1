// The gates of each cell for one vector of hidden units of one row; the equations are those of cells/reference.py.
//
// `sums` holds W_hh h of each gate, one gate `stride` numbers after the other. Rows point at the arrays' rows for this
// step; u is the first unit and n the number of units that exist.
#pragma once
#include "product.hpp"

namespace rnnlab::RNNLAB_ISA {

// How much of a state a row's step keeps: all or nothing by a mask, or a share of it.
template <class T> struct Zoneout {
    const uint8_t *mask;
    T share;

    RNNLAB_INLINE bool is_on() const { return mask || share != 0; }
    RNNLAB_INLINE Vector<T> kept(int64_t u, int64_t n) const {
        if (!mask) return all<T>(share);
        T numbers[lanes<T>] = {};
        for (int64_t i = 0; i < std::min<int64_t>(n, lanes<T>); ++i) numbers[i] = mask[u + i];
        return load(numbers);
    }
    RNNLAB_INLINE Vector<T> mix(Vector<T> before, Vector<T> after, int64_t u, int64_t n) const {
        if (!is_on()) return after;
        const Vector<T> k = kept(u, n);
        if (mask) return k != T(0) ? before : after;  // and no product: 0 times infinity is nan
        return k * before + (T(1) - k) * after;
    }
};

template <class T> struct ForwardRow {
    T *gates;   // in: W_ih x + b of each gate; out: the gates, where they are kept
    T *h, *c;   // the running state
    T *saved;   // c, q or h', or null
    bool keep;  // whether a backward pass follows
    Zoneout<T> zoneout_c;
};

template <class T> struct BackwardRow {
    const T *gates, *h_after, *saved;  // of this step; h_after is the state before zoneout, for a simple cell
    const T *h_before, *c_before;      // the state before it
    T *grad_h;                         // a GRU adds to it what passes beside W_hh to the state before
    T *grad_c;                         // in: gradient of the state after the step; out: of the one before
    T *grad_gates, *grad_q;            // out
    Zoneout<T> zoneout_c;
    T clip;  // bound of grad_c on its way out; 0: none
};

template <class T, bool is_relu> struct SimpleCell {
    static constexpr int num_gates = 1;
    static constexpr bool has_cell_state = false, has_q = false;

    static RNNLAB_INLINE Vector<T> forward(const ForwardRow<T> &row, const T *sums, int64_t, int64_t u, int64_t n,
                                           int64_t) {
        Vector<T> a = load(row.gates + u, n) + load(sums);
        Vector<T> h = is_relu ? relu<T>(a) : tanh<T>(a);
        if (row.keep) store(row.saved + u, h, n);
        return h;
    }
    static RNNLAB_INLINE void backward(const BackwardRow<T> &row, Vector<T> d, int64_t u, int64_t n, int64_t) {
        Vector<T> h = load(row.h_after + u, n);
        Vector<T> through_relu = h > T(0) ? d : Vector<T>{};
        store(row.grad_gates + u, is_relu ? through_relu : d * tanh_slope<T>(h), n);
    }
};

template <class T> struct LstmCell {
    static constexpr int num_gates = 4;
    static constexpr bool has_cell_state = true, has_q = false;

    static RNNLAB_INLINE Vector<T> forward(const ForwardRow<T> &row, const T *sums, int64_t stride, int64_t u,
                                           int64_t n, int64_t H) {
        T *gates = row.gates + u;
        Vector<T> i = sigmoid<T>(load(gates, n) + load(sums));
        Vector<T> f = sigmoid<T>(load(gates + H, n) + load(sums + stride));
        Vector<T> g = tanh<T>(load(gates + 2 * H, n) + load(sums + 2 * stride));
        Vector<T> o = sigmoid<T>(load(gates + 3 * H, n) + load(sums + 3 * stride));
        Vector<T> before = load(row.c + u, n), after = f * before + i * g;
        Vector<T> c = row.zoneout_c.mix(before, after, u, n);
        store(row.c + u, c, n);
        if (row.keep) {
            store(gates, i, n);
            store(gates + H, f, n);
            store(gates + 2 * H, g, n);
            store(gates + 3 * H, o, n);
            store(row.saved + u, c, n);
        }
        return o * tanh<T>(after);
    }
    static RNNLAB_INLINE void backward(const BackwardRow<T> &row, Vector<T> d, int64_t u, int64_t n, int64_t H) {
        const T *gates = row.gates + u;
        Vector<T> i = load(gates, n), f = load(gates + H, n), g = load(gates + 2 * H, n), o = load(gates + 3 * H, n);
        Vector<T> before = load(row.c_before + u, n), tanh_c = tanh<T>(f * before + i * g);
        Vector<T> from_later = load(row.grad_c + u, n), past = {};
        if (row.zoneout_c.is_on()) {
            past = row.zoneout_c.mix(from_later, Vector<T>{}, u, n);
            from_later = row.zoneout_c.mix(Vector<T>{}, from_later, u, n);
        }
        Vector<T> dc = from_later + d * o * tanh_slope<T>(tanh_c);
        T *grad = row.grad_gates + u;
        store(grad, dc * g * sigmoid_slope<T>(i), n);
        store(grad + H, dc * before * sigmoid_slope<T>(f), n);
        store(grad + 2 * H, dc * i * tanh_slope<T>(g), n);
        store(grad + 3 * H, d * tanh_c * sigmoid_slope<T>(o), n);
        dc = dc * f + past;
        store(row.grad_c + u, row.clip > 0 ? clamp<T>(dc, -row.clip, row.clip) : dc, n);
    }
};

template <class T> struct GruCell {
    static constexpr int num_gates = 3;
    static constexpr bool has_cell_state = false, has_q = true;

    // The third of the sums is q = W_hn h + b_hn.
    static RNNLAB_INLINE Vector<T> forward(const ForwardRow<T> &row, const T *sums, int64_t stride, int64_t u,
                                           int64_t n, int64_t H) {
        T *gates = row.gates + u;
        Vector<T> r = sigmoid<T>(load(gates, n) + load(sums));
        Vector<T> z = sigmoid<T>(load(gates + H, n) + load(sums + stride));
        Vector<T> q = load(sums + 2 * stride);
        Vector<T> new_gate = tanh<T>(load(gates + 2 * H, n) + r * q);
        if (row.keep) {
            store(gates, r, n);
            store(gates + H, z, n);
            store(gates + 2 * H, new_gate, n);
            store(row.saved + u, q, n);
        }
        return new_gate + z * (load(row.h + u, n) - new_gate);
    }
    static RNNLAB_INLINE void backward(const BackwardRow<T> &row, Vector<T> d, int64_t u, int64_t n, int64_t H) {
        const T *gates = row.gates + u;
        Vector<T> r = load(gates, n), z = load(gates + H, n), new_gate = load(gates + 2 * H, n);
        Vector<T> da_n = d * (T(1) - z) * tanh_slope<T>(new_gate);
        T *grad = row.grad_gates + u;
        store(grad, da_n * load(row.saved + u, n) * sigmoid_slope<T>(r), n);
        store(grad + H, d * (load(row.h_before + u, n) - new_gate) * sigmoid_slope<T>(z), n);
        store(grad + 2 * H, da_n, n);
        store(row.grad_q + u, da_n * r, n);
        store(row.grad_h + u, load(row.grad_h + u, n) + d * z, n);
    }
};

}  // namespace rnnlab::RNNLAB_ISA
