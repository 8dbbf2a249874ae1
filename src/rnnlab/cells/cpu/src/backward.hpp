// The backward pass of one layer in one direction: through time, then the weights' gradients.
//
// As in the forward pass a thread takes its chunks through all steps by itself. After that, threads divide the rows of
// the weight gradients, each of which is one sum over all steps in one order: results do not depend on chance.
#pragma once
#include "cells.hpp"
#include "layout.hpp"

namespace rnnlab::RNNLAB_ISA {

template <class P, class Cell> class Backward : Layout<P, Cell> {
    using T = Value<P>;
    using E = Element<P>;
    using Base = Layout<P, Cell>;
    using Base::num_gates, Base::window, Base::steps, Base::batch, Base::input_size, Base::hidden_size, Base::gate_rows;

  public:
    explicit Backward(const rnnlab_window &w)
        : Base(w), input_weights(w.grad_x ? gate_rows : 0, input_size),
          recurrent_weights(this->unit_blocks() * this->panel_elements()) {
        list_places();
    }

    void run() {
        const auto ih = rows_of<T>(window.weight_ih, gate_rows, input_size);
        const auto hh = rows_of<T>(window.weight_hh, gate_rows, hidden_size);
        in_parallel(this->threads, [&](int thread, int threads) {
            if (window.grad_x)
                share(input_weights.panels(), thread, threads,
                      [&](int64_t j) { input_weights.fill({ih.data(), true}, j); });
            share(this->unit_blocks(), thread, threads, [&](int64_t block) { pack_recurrent(hh.data(), block); });
        });
        in_parallel(this->threads, [&](int thread, int threads) {
            Worker worker;
            worker.chunks = this->chunks_of(thread, threads);
            worker.gates.reserve(worker.chunks.size() * max_rows * packed_depth());
            begin(worker);
            for (int64_t step = steps - 1; step >= 0; --step) retreat(worker, step);
            if (window.grad_x) input_gradient(worker);
        });
        in_parallel(this->threads, [&](int thread, int threads) {
            Buffer<E> packed;
            weight_gradients(packed, thread, threads);
        });
    }

  private:
    struct Worker {
        std::vector<const Chunk *> chunks;
        Buffer<E> gates;  // gradients of the gates of all chunks at one step, packed
        Buffer<E> packed;
    };

    Panels<P> input_weights;
    Buffer<E> recurrent_weights;  // [block of units][gate][k][unit]
    // All steps that happened, by time and row: their inputs, states before them, gradients.
    std::vector<const T *> inputs, states, masks, grad_gates, grad_q;

    T *grad_gates_at(int64_t place) const { return static_cast<T *>(window.workspace) + place * gate_rows; }
    T *grad_q_at(int64_t place) const { return grad_gates_at(steps * batch) + place * hidden_size; }
    const T *state_before(const void *initial, const void *all, int64_t t, int64_t row) const {
        const int64_t before = window.reverse ? t + 1 : t - 1;
        const bool is_first = before < 0 || before >= this->length(row);
        return is_first ? static_cast<const T *>(initial) + row * hidden_size
                        : static_cast<const T *>(all) + (before * batch + row) * hidden_size;
    }

    void list_places() {
        for (int64_t t = 0; t < steps; ++t)
            for (int64_t row = 0; row < batch; ++row) {
                if (t >= this->length(row)) continue;
                const int64_t place = t * batch + row;
                inputs.push_back(static_cast<const T *>(window.x) + place * input_size);
                states.push_back(state_before(window.h_0, window.y, t, row));
                grad_gates.push_back(grad_gates_at(place));
                if (Cell::has_q) grad_q.push_back(grad_q_at(place));
                if (window.recurrent_mask)
                    masks.push_back(static_cast<const T *>(window.recurrent_mask) + row * hidden_size);
            }
    }

    // Whether the gradient of the state before a step is more than what comes through W_hh.
    bool adds() const { return Cell::has_q || window.zoneout_h || window.zoneout_h_share != 0; }
    int64_t packed_depth() const { return num_gates * elements<P>(hidden_size); }
    E *recurrent_panel(int64_t block) { return recurrent_weights.data() + block * this->panel_elements(); }
    void pack_recurrent(const T *const *weight_hh, int64_t block) {
        const int width = this->vectors(block) * lanes<T>;
        for (int g = 0; g < num_gates; ++g)
            pack<P>({weight_hh + g * hidden_size, true}, 0, hidden_size, block * panel_width<P>, this->units(block),
                    width, recurrent_panel(block) + g * elements<P>(hidden_size) * width);
    }

    T *grad_h(const Chunk &chunk, int row) const {
        return static_cast<T *>(window.grad_h_0) + chunk.row[row] * hidden_size;
    }
    T *grad_c(const Chunk &chunk, int row) const {
        return static_cast<T *>(window.grad_c_0) + chunk.row[row] * hidden_size;
    }

    // Copy the final state's gradients to where the running ones stand, and clear what no step writes.
    void begin(Worker &worker) const {
        auto copy = [&](const void *from, int64_t row, T *to) {
            if (from)
                std::copy_n(static_cast<const T *>(from) + row * hidden_size, hidden_size, to);
            else
                std::fill_n(to, hidden_size, T(0));
        };
        for (const Chunk *chunk : worker.chunks)
            for (int r = 0; r < chunk->count; ++r) {
                copy(window.grad_h_n, chunk->row[r], grad_h(*chunk, r));
                if (Cell::has_cell_state) copy(window.grad_c_n, chunk->row[r], grad_c(*chunk, r));
                if (!window.grad_x) continue;
                for (int64_t t = chunk->length[r]; t < steps; ++t)
                    std::fill_n(static_cast<T *>(window.grad_x) + (t * batch + chunk->row[r]) * input_size, input_size,
                                T(0));
            }
    }

    // One step back: the gates' gradients of all chunks, then through the recurrent weights, block by block.
    void retreat(Worker &worker, int64_t step) {
        const int64_t chunk_elements = max_rows * packed_depth();
        for (size_t i = 0; i < worker.chunks.size(); ++i)
            if (const int alive = worker.chunks[i]->alive(step))
                gate_gradients(*worker.chunks[i], alive, step, worker.gates.data() + i * chunk_elements);
        for (int64_t block = 0; block < this->unit_blocks(); ++block)
            for (size_t i = 0; i < worker.chunks.size(); ++i)
                if (const int alive = worker.chunks[i]->alive(step))
                    state_gradient(*worker.chunks[i], alive, block, worker.gates.data() + i * chunk_elements);
    }

    void gate_gradients(const Chunk &chunk, int alive, int64_t step, E *packed) {
        const T *gates[num_gates + 1][max_rows];
        for (int r = 0; r < alive; ++r) {
            const int64_t place = this->place(chunk, r, step), t = place / batch;
            BackwardRow<T> row{};
            if (num_gates > 1) {
                row.gates = static_cast<const T *>(window.gates) + place * gate_rows;
                row.saved = static_cast<const T *>(window.saved) + place * hidden_size;
            }
            const bool zones = this->zoneout_h(place).is_on();
            row.h_after =
                static_cast<const T *>(num_gates == 1 && zones ? window.saved : window.y) + place * hidden_size;
            row.h_before = state_before(window.h_0, window.y, t, chunk.row[r]);
            row.grad_h = grad_h(chunk, r);
            if (Cell::has_cell_state) {
                row.c_before = state_before(window.c_0, window.saved, t, chunk.row[r]);
                row.grad_c = grad_c(chunk, r);
            }
            row.grad_gates = grad_gates_at(place);
            if (Cell::has_q) row.grad_q = grad_q_at(place);
            row.zoneout_c = this->zoneout_c(place);
            row.clip = T(window.clip_state_grad);
            const T *grad_y = window.grad_y ? static_cast<const T *>(window.grad_y) + place * hidden_size : nullptr;
            for (int64_t u = 0; u < hidden_size; u += lanes<T>) {
                const int64_t n = hidden_size - u;
                Vector<T> d = load(row.grad_h + u, n);
                if (grad_y) d += load(grad_y + u, n);
                Vector<T> past = {};
                if (zones) {
                    past = this->zoneout_h(place).mix(d, Vector<T>{}, u, n);
                    d = this->zoneout_h(place).mix(Vector<T>{}, d, u, n);
                }
                if (adds()) store(row.grad_h + u, past, n);
                Cell::backward(row, d, u, n, hidden_size);
            }
            for (int g = 0; g < num_gates; ++g) gates[g][r] = row.grad_gates + g * hidden_size;
            if (Cell::has_q) gates[2][r] = row.grad_q;
        }
        for (int g = 0; g < num_gates; ++g)
            pack<P>({gates[g], false}, 0, hidden_size, 0, alive, chunk.count,
                    packed + g * elements<P>(hidden_size) * chunk.count);
    }

    void state_gradient(const Chunk &chunk, int alive, int64_t block, const E *gates) {
        const int64_t unit = block * panel_width<P>, units = this->units(block);
        alignas(64) T tile[max_rows][panel_width<P>] = {};
        T *out[max_rows] = {}, *rows[max_rows] = {};
        const int kernel_rows = chunk.kernel_rows(alive);
        const T *masks[max_rows];
        this->of(chunk, static_cast<const T *>(window.recurrent_mask), hidden_size, masks);
        const bool direct = !window.recurrent_mask && units == this->vectors(block) * lanes<T>;
        for (int r = 0; r < kernel_rows; ++r) {
            rows[r] = r < alive ? grad_h(chunk, r) + unit : tile[r];
            out[r] = direct ? rows[r] : tile[r];
        }
        const bool adds = this->adds();
        kernels<P>.of[kernel_rows - 1][this->vectors(block) - 1](gates, chunk.count, recurrent_panel(block),
                                                                 packed_depth(), direct && adds ? rows : nullptr, out);
        for (int r = 0; r < alive && !direct; ++r)
            for (int64_t u = 0; u < units; ++u) {
                const T product = masks[r] ? tile[r][u] * masks[r][unit + u] : tile[r][u];
                rows[r][u] = adds ? rows[r][u] + product : product;
            }
        if (const T clip = T(window.clip_state_grad); clip > 0)
            for (int r = 0; r < alive; ++r)
                for (int64_t u = 0; u < units; u += lanes<T>)
                    store(rows[r] + u, clamp<T>(load(rows[r] + u, units - u), -clip, clip), units - u);
    }

    void input_gradient(Worker &worker) {
        std::vector<const T *> from;
        std::vector<T *> to;
        for (const Chunk *chunk : worker.chunks)
            for (int r = 0; r < chunk->count; ++r)
                for (int64_t step = 0; step < chunk->length[r]; ++step) {
                    const int64_t place = this->place(*chunk, r, step);
                    from.push_back(grad_gates_at(place));
                    to.push_back(static_cast<T *>(window.grad_x) + place * input_size);
                }
        multiply<P>({from.data(), false}, from.size(), input_weights, nullptr, to.data(), worker.packed);
    }

    // grad (rows, columns) = left^T right, for one thread's part of the rows.
    void outer_product(Buffer<E> &packed, const std::vector<const T *> &left, const Matrix<T> &right, void *grad,
                       int64_t first, int64_t rows, int64_t columns) {
        std::vector<const T *> shifted(left);
        for (const T *&row : shifted) row += first;
        std::vector<T *> out(rows);
        for (int64_t i = 0; i < rows; ++i) out[i] = static_cast<T *>(grad) + i * columns;
        multiply<P>({shifted.data(), true}, rows, right, left.size(), columns, out.data(), packed);
    }

    void weight_gradients(Buffer<E> &packed, int thread, int threads) {
        const int64_t first = gate_rows * thread / threads, last = gate_rows * (thread + 1) / threads;
        T *grad_ih = static_cast<T *>(window.grad_weight_ih) + first * input_size;
        T *grad_hh = static_cast<T *>(window.grad_weight_hh) + first * hidden_size;
        const Matrix<T> before{states.data(), true, window.recurrent_mask ? masks.data() : nullptr};
        if (inputs.empty()) {
            std::fill_n(grad_ih, (last - first) * input_size, T(0));
            std::fill_n(grad_hh, (last - first) * hidden_size, T(0));
        }
        outer_product(packed, grad_gates, {inputs.data(), true}, grad_ih, first, last - first, input_size);
        // Below the reset gate a GRU's third block is grad_q.
        const int64_t end = Cell::has_q ? std::max(first, std::min(last, 2 * hidden_size)) : last;
        outer_product(packed, grad_gates, before, grad_hh, first, end - first, hidden_size);
        if (last > end)
            outer_product(packed, grad_q, before, grad_hh + (end - first) * hidden_size, end - 2 * hidden_size,
                          last - end, hidden_size);
        T *bias_ih = static_cast<T *>(window.grad_bias_ih), *bias_hh = static_cast<T *>(window.grad_bias_hh);
        sum_rows(grad_gates, first, last, bias_ih);
        std::copy(bias_ih + first, bias_ih + end, bias_hh + first);
        if (last > end) sum_rows(grad_q, end - 2 * hidden_size, last - 2 * hidden_size, bias_hh + 2 * hidden_size);
    }

    static void sum_rows(const std::vector<const T *> &rows, int64_t first, int64_t last, T *out) {
        std::fill(out + first, out + last, T(0));
        for (const T *row : rows)
            for (int64_t u = first; u < last; u += lanes<T>) {
                const int64_t n = last - u;
                store(out + u, load(out + u, n) + load(row + u, n), n);
            }
    }
};

}  // namespace rnnlab::RNNLAB_ISA
