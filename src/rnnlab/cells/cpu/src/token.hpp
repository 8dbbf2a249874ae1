// The forward pass of a single step, or of very few rows, as when text is generated a token at a time: weights are read
// once, where they stand. To pack them first would cost more than the product.
#pragma once
#include "layout.hpp"

namespace rnnlab::RNNLAB_ISA {

constexpr int dot_rows = 4;  // rows that share one reading of the weights from the first cache

// out[r][j] = start[j] + sum over k of x[r][k] * weight[j][k], for four j.
template <class T, int rows>
void dot_products(const T *const *x, const T *weight, int64_t depth, const T *start, T *const *out, int64_t j) {
    constexpr int columns = 4, width = lanes<T>;
    Vector<T> sum[rows][columns];
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < columns; ++c) sum[r][c] = Vector<T>{};
    auto add = [&](int64_t k, auto read) RNNLAB_INLINE_LAMBDA {
        Vector<T> w[columns];
#pragma GCC unroll 4
        for (int c = 0; c < columns; ++c) {
            w[c] = read(weight + (j + c) * depth + k);
            __builtin_prefetch(weight + (j + columns + c) * depth + k);  // the next call's
        }
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) {
            const Vector<T> factor = read(x[r] + k);
#pragma GCC unroll 4
            for (int c = 0; c < columns; ++c) sum[r][c] += w[c] * factor;
        }
    };
    int64_t k = 0;
    for (; k + width <= depth; k += width) add(k, [](const T *p) RNNLAB_INLINE_LAMBDA { return load(p); });
    if (k < depth) add(k, [&](const T *p) { return load(p, depth - k); });
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < columns; ++c) {
            T total = start ? start[j + c] : T(0);
            for (int i = 0; i < width; ++i) total += sum[r][c][i];
            out[r][j + c] = total;
        }
}

// The same for all rows and j first..last.
template <class T> void dot_products(const std::vector<const T *> &x, const T *weight, int64_t depth, const T *start,
                                     const std::vector<T *> &out, int64_t first, int64_t last) {
    void (*const kernels_by_rows[])(const T *const *, const T *, int64_t, const T *, T *const *, int64_t) = {
        dot_products<T, 1>, dot_products<T, 2>, dot_products<T, 3>, dot_products<T, 4>};
    const int64_t rows = x.size();
    int64_t j = first;
    for (; j + 4 <= last; j += 4)
        for (int64_t r = 0; r < rows; r += dot_rows)
            kernels_by_rows[std::min<int64_t>(dot_rows, rows - r) - 1](x.data() + r, weight, depth, start,
                                                                       out.data() + r, j);
    for (; j < last; ++j)
        for (int64_t r = 0; r < rows; ++r) {
            T total = start ? start[j] : T(0);
            for (int64_t k = 0; k < depth; ++k) total += x[r][k] * weight[j * depth + k];
            out[r][j] = total;
        }
}

template <class P, class Cell> class Token : Layout<P, Cell> {
    using T = Value<P>;
    using Base = Layout<P, Cell>;
    using Base::num_gates, Base::window, Base::steps, Base::batch, Base::input_size, Base::hidden_size, Base::gate_rows;

  public:
    // Whether a window is run here: no weight is used often, no backward pass, nothing beyond the plain recurrence.
    static bool fits(const rnnlab_window &w) {
        return w.steps * w.batch <= (w.steps == 1 ? 4 * dot_rows : dot_rows) && !w.saved && !w.gates && !w.lengths &&
               !w.recurrent_mask && !w.zoneout_h && !w.zoneout_c && w.zoneout_h_share == 0 && w.zoneout_c_share == 0;
    }

    explicit Token(const rnnlab_window &w)
        : Base(w), from_input(batch * gate_rows + lanes<T>), from_state(batch * gate_rows + lanes<T>), bias(gate_rows),
          bias_q(gate_rows) {
        if (!w.bias_ih) return;
        for (int64_t i = 0; i < gate_rows; ++i) {
            bias.data()[i] = this->input_bias(i);
            bias_q.data()[i] = this->state_bias(i);
        }
    }

    void run() {
        std::copy_n(static_cast<const T *>(window.h_0), batch * hidden_size, static_cast<T *>(window.h_n));
        if (Cell::has_cell_state)
            std::copy_n(static_cast<const T *>(window.c_0), batch * hidden_size, static_cast<T *>(window.c_n));
        // Threads pay where the weights are more than a cache holds.
        const bool large = gate_rows * (input_size + hidden_size) >= 1 << 20;
        for (int64_t step = 0; step < steps; ++step) {
            std::vector<const T *> x(batch), h(batch);
            std::vector<T *> input_sums(batch), state_sums(batch);
            const int64_t t = window.reverse ? steps - 1 - step : step;
            for (int64_t r = 0; r < batch; ++r) {
                x[r] = static_cast<const T *>(window.x) + (t * batch + r) * input_size;
                h[r] = static_cast<const T *>(window.h_n) + r * hidden_size;
                input_sums[r] = from_input.data() + r * gate_rows;
                state_sums[r] = from_state.data() + r * gate_rows;
            }
            in_parallel(large ? window.threads : 1, [&](int thread, int threads) {
                // Whole groups, so that a sum is formed in one way whatever the number of threads.
                const int64_t groups = gate_rows / 4, first = groups * thread / threads * 4;
                const int64_t last = thread + 1 == threads ? gate_rows : groups * (thread + 1) / threads * 4;
                dot_products<T>(x, static_cast<const T *>(window.weight_ih), input_size,
                                window.bias_ih ? bias.data() : nullptr, input_sums, first, last);
                dot_products<T>(h, static_cast<const T *>(window.weight_hh), hidden_size,
                                window.bias_ih ? bias_q.data() : nullptr, state_sums, first, last);
            });
            for (int64_t r = 0; r < batch; ++r) {
                T *h_row = static_cast<T *>(window.h_n) + r * hidden_size;
                T *c_row = Cell::has_cell_state ? static_cast<T *>(window.c_n) + r * hidden_size : nullptr;
                const ForwardRow<T> row{input_sums[r], h_row, c_row, nullptr, false, {}};
                for (int64_t u = 0; u < hidden_size; u += lanes<T>) {
                    const int64_t n = hidden_size - u;
                    Vector<T> after = Cell::forward(row, state_sums[r] + u, hidden_size, u, n, hidden_size);
                    store(h_row + u, after, n);
                    store(static_cast<T *>(window.y) + (t * batch + r) * hidden_size + u, after, n);
                }
            }
        }
    }

  private:
    Buffer<T> from_input, from_state, bias, bias_q;
};

}  // namespace rnnlab::RNNLAB_ISA
