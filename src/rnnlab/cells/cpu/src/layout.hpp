// How the work of a window is divided: chunks of rows for the kernels, chunks for the threads, blocks of hidden units.
#pragma once
#include <numeric>
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "cells.hpp"
#include "engine.h"

namespace rnnlab::RNNLAB_ISA {

// Run work(thread, threads) on up to `threads` threads and wait for all of them. There may be fewer than asked for.
template <class Work> void in_parallel(int threads, Work work) {
#if defined(_OPENMP)
    bool failed = false;
#pragma omp parallel num_threads(threads)
    try {
        work(omp_get_thread_num(), omp_get_num_threads());
    } catch (const std::bad_alloc &) {  // which must not leave the region
#pragma omp atomic write
        failed = true;
    }
    if (failed) throw std::bad_alloc();
#else
    (void)threads;
    work(0, 1);
#endif
}
// Do item(i) for one thread's share of 0..items.
template <class Item> void share(int64_t items, int thread, int threads, Item item) {
    for (int64_t i = items * thread / threads; i < items * (thread + 1) / threads; ++i) item(i);
}

template <class T> std::vector<const T *> rows_of(const void *matrix, int64_t rows, int64_t columns) {
    std::vector<const T *> list(rows);
    for (int64_t i = 0; i < rows; ++i) list[i] = static_cast<const T *>(matrix) + i * columns;
    return list;
}

// Rows of the batch that go through the kernels together, the longest first.
struct Chunk {
    int count = 0;
    int64_t row[max_rows], length[max_rows];

    // How many rows go through a kernel when `alive` of them count.
    int kernel_rows(int alive) const { return std::max<int>(alive, std::min<int64_t>(even_rows, count)); }
    // How many rows have step `step`; they are the first ones.
    int alive(int64_t step) const {
        int n = count;
        while (n > 0 && length[n - 1] <= step) --n;
        return n;
    }
};

// What a window looks like to one cell and arithmetic. Row b's step s works on input t = s, or length - 1 - s in
// reverse; steps past a row's length do not happen.
template <class P, class Cell> struct Layout {
    using T = Value<P>;
    static constexpr int num_gates = Cell::num_gates;

    const rnnlab_window &window;
    const int64_t steps, batch, input_size, hidden_size, gate_rows;
    const int threads;
    const Blocks<P> units;        // of the hidden state
    const int64_t steps_at_once;  // whose inputs are multiplied together: about 96 rows a thread, which stay in a cache
    std::vector<Chunk> chunks;

    explicit Layout(const rnnlab_window &w)
        : window(w), steps(w.steps), batch(w.batch), input_size(w.input_size), hidden_size(w.hidden_size),
          gate_rows(num_gates * w.hidden_size), threads(std::max<int64_t>(1, std::min<int64_t>(w.threads, w.batch))),
          units{hidden_size}, steps_at_once(std::max<int64_t>(1, 96 * threads / std::max<int64_t>(1, batch))) {
        std::vector<int64_t> order(batch);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
        // As many for each thread, but none so small that its rows would be added up in another way.
        int64_t count = (batch + max_rows - 1) / max_rows;
        count = std::min((count + threads - 1) / threads * threads, std::max<int64_t>(batch > 0, batch / even_rows));
        for (int64_t i = 0; i < count; ++i) {
            Chunk chunk;
            share(batch, i, count, [&](int64_t j) {
                chunk.row[chunk.count] = order[j];
                chunk.length[chunk.count++] = length(order[j]);
            });
            chunks.push_back(chunk);
        }
    }

    int64_t length(int64_t row) const { return window.lengths ? window.lengths[row] : steps; }
    // A thread's chunks: dealt out back and forth, so that each thread gets long and short ones.
    std::vector<const Chunk *> chunks_of(int thread, int num_threads) const {
        std::vector<const Chunk *> mine;
        for (size_t i = 0; i < chunks.size(); ++i) {
            const int turn = i % (2 * num_threads);
            if ((turn < num_threads ? turn : 2 * num_threads - 1 - turn) == thread) mine.push_back(&chunks[i]);
        }
        return mine;
    }

    // Where a chunk's row stands in arrays over (T, B) at a step.
    int64_t place(const Chunk &chunk, int row, int64_t step) const {
        return (window.reverse ? chunk.length[row] - 1 - step : step) * batch + chunk.row[row];
    }
    // Rows of an array over (T, B) at a step.
    template <class N> void at(const Chunk &chunk, int count, int64_t step, N *array, int64_t width, N **rows) const {
        for (int r = 0; r < count; ++r) rows[r] = array ? array + place(chunk, r, step) * width : nullptr;
    }
    // Rows of an array over (B).
    template <class N> static void of(const Chunk &chunk, N *array, int64_t width, N **rows) {
        for (int r = 0; r < chunk.count; ++r) rows[r] = array ? array + chunk.row[r] * width : nullptr;
    }

    // The state before the step at t of a row, from the initial one and those over (T, B).
    const T *state_before(const void *initial, const void *all, int64_t t, int64_t row) const {
        const int64_t before = window.reverse ? t + 1 : t - 1;
        const bool is_first = before < 0 || before >= length(row);
        return is_first ? static_cast<const T *>(initial) + row * hidden_size
                        : static_cast<const T *>(all) + (before * batch + row) * hidden_size;
    }
    // Where the backward pass leaves a step's gradients of the gates and of q.
    T *grad_gates(int64_t place) const { return static_cast<T *>(window.workspace) + place * gate_rows; }
    T *grad_q(int64_t place) const { return grad_gates(steps * batch) + place * hidden_size; }

    Zoneout<T> zoneout_h(int64_t place) const {
        return {window.zoneout_h ? window.zoneout_h + place * hidden_size : nullptr, T(window.zoneout_h_share)};
    }
    Zoneout<T> zoneout_c(int64_t place) const {
        return {window.zoneout_c ? window.zoneout_c + place * hidden_size : nullptr, T(window.zoneout_c_share)};
    }

    // b_ih + b_hh can be added once for the whole window, but for b_hn, which the GRU's reset gate scales.
    bool is_q(int64_t gate_row) const { return Cell::has_q && gate_row >= 2 * hidden_size; }
    T input_bias(int64_t gate_row) const {
        const T *ih = static_cast<const T *>(window.bias_ih), *hh = static_cast<const T *>(window.bias_hh);
        return is_q(gate_row) ? ih[gate_row] : ih[gate_row] + hh[gate_row];
    }
    T state_bias(int64_t gate_row) const {
        return is_q(gate_row) ? static_cast<const T *>(window.bias_hh)[gate_row] : T(0);
    }
};

}  // namespace rnnlab::RNNLAB_ISA
