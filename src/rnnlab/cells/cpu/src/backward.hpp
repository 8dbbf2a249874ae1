// The backward pass of one layer in one direction. As in the forward pass a thread takes its chunks through all steps
// by itself; the weights' gradients follow.
#pragma once
#include "cells.hpp"
#include "layout.hpp"
#include "weight_gradients.hpp"

namespace rnnlab::RNNLAB_ISA {

template <class P, class Cell> class Backward : Layout<P, Cell> {
    using T = Value<P>;
    using E = Element<P>;
    using Base = Layout<P, Cell>;
    using Base::num_gates, Base::window, Base::steps, Base::batch, Base::input_size, Base::hidden_size, Base::gate_rows;
    using Base::units, Base::steps_at_once;

  public:
    explicit Backward(const rnnlab_window &w)
        : Base(w), columns_of_x{input_size}, input_weights(w.grad_x ? columns_of_x.count() * panel_elements() : 0),
          recurrent_weights(units.count() * panel_elements()) {}

    void run() {
        const auto ih = rows_of<T>(window.weight_ih, gate_rows, input_size);
        const auto hh = rows_of<T>(window.weight_hh, gate_rows, hidden_size);
        in_parallel(this->threads, [&](int thread, int threads) {
            if (window.grad_x)
                share(columns_of_x.count(), thread, threads,
                      [&](int64_t j) { pack_weights(ih.data(), columns_of_x, j, 0, input_weights); });
            share(units.count(), thread, threads,
                  [&](int64_t j) { pack_weights(hh.data(), units, j, Cell::has_q ? 2 : 0, recurrent_weights); });
        });
        in_parallel(this->threads, [&](int thread, int threads) {
            Worker worker;
            worker.chunks = this->chunks_of(thread, threads);
            const int64_t kept_steps = window.grad_x ? steps_at_once : 1;
            worker.gates.reserve(kept_steps * worker.chunks.size() * chunk_elements());
            begin(worker);
            for (int64_t last = steps; last > 0; last -= kept_steps) {
                const int64_t first = std::max<int64_t>(0, last - kept_steps);
                for (int64_t step = last - 1; step >= first; --step) retreat(worker, step, first);
                if (window.grad_x) input_gradient(worker, first, last);
            }
        });
        WeightGradients<P, Cell>(*this).run();
    }

  private:
    // In what is packed of a chunk's gradients at a step, q stands before a GRU's gates: W_hh meets q, r and z, and
    // W_ih meets r, z and n.
    static constexpr int packed_gates = num_gates + Cell::has_q;

    struct Worker {
        std::vector<const Chunk *> chunks;
        Buffer<E> gates;  // gradients of the gates, packed: [step][chunk][gate][unit][row]
    };

    const Blocks<P> columns_of_x;
    Buffer<E> input_weights, recurrent_weights;  // [block of columns][gate][unit][column]

    // Whether the gradient of the state before a step is more than what comes through W_hh.
    bool adds() const { return Cell::has_q || window.zoneout_h || window.zoneout_h_share != 0; }
    int64_t gate_elements() const { return elements<P>(hidden_size); }
    int64_t packed_depth() const { return num_gates * gate_elements(); }
    int64_t panel_elements() const { return packed_depth() * panel_width<P>; }
    int64_t chunk_elements() const { return packed_gates * gate_elements() * max_rows; }
    E *packed_gates_of(Worker &worker, size_t chunk, int64_t slot) const {
        return worker.gates.data() + (slot * worker.chunks.size() + chunk) * chunk_elements();
    }
    // Pack a block of a weight's columns, its gates in order from `first_gate` on.
    void pack_weights(const T *const *weight, const Blocks<P> &columns, int64_t block, int first_gate, Buffer<E> &to) {
        E *panel = to.data() + block * panel_elements();
        for (int i = 0; i < num_gates; ++i)
            pack<P>({weight + (first_gate + i) % num_gates * hidden_size, true}, 0, hidden_size, block * panel_width<P>,
                    columns.size(block), columns.width(block), panel + i * gate_elements() * columns.width(block));
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
    void retreat(Worker &worker, int64_t step, int64_t first) {
        for (size_t i = 0; i < worker.chunks.size(); ++i)
            if (const int alive = worker.chunks[i]->alive(step))
                gate_gradients(*worker.chunks[i], alive, step, packed_gates_of(worker, i, step - first));
        for (int64_t block = 0; block < units.count(); ++block)
            for (size_t i = 0; i < worker.chunks.size(); ++i)
                if (const int alive = worker.chunks[i]->alive(step))
                    state_gradient(*worker.chunks[i], alive, block, packed_gates_of(worker, i, step - first));
    }

    void gate_gradients(const Chunk &chunk, int alive, int64_t step, E *packed) {
        const T *gates[packed_gates][max_rows];
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
            row.h_before = this->state_before(window.h_0, window.y, t, chunk.row[r]);
            row.grad_h = grad_h(chunk, r);
            if (Cell::has_cell_state) {
                row.c_before = this->state_before(window.c_0, window.saved, t, chunk.row[r]);
                row.grad_c = grad_c(chunk, r);
            }
            row.grad_gates = this->grad_gates(place);
            if (Cell::has_q) row.grad_q = this->grad_q(place);
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
            for (int g = 0; g < num_gates; ++g) gates[g + Cell::has_q][r] = row.grad_gates + g * hidden_size;
            if (Cell::has_q) gates[0][r] = row.grad_q;
        }
        for (int i = 0; i < packed_gates; ++i)
            pack<P>({gates[i], false}, 0, hidden_size, 0, alive, chunk.count,
                    packed + i * gate_elements() * chunk.count);
    }

    void state_gradient(const Chunk &chunk, int alive, int64_t block, const E *gates) {
        const int64_t unit = block * panel_width<P>, count = units.size(block);
        alignas(64) T tile[max_rows][panel_width<P>] = {};
        T *out[max_rows] = {}, *rows[max_rows] = {};
        const int kernel_rows = chunk.kernel_rows(alive);
        const T *masks[max_rows];
        this->of(chunk, static_cast<const T *>(window.recurrent_mask), hidden_size, masks);
        const bool direct = !window.recurrent_mask && count == units.width(block);
        for (int r = 0; r < kernel_rows; ++r) {
            rows[r] = r < alive ? grad_h(chunk, r) + unit : tile[r];
            out[r] = direct ? rows[r] : tile[r];
        }
        const bool adds = this->adds();
        kernels<P>.of[kernel_rows - 1][units.vectors(block) - 1](
            gates, chunk.count, recurrent_weights.data() + block * panel_elements(), packed_depth(),
            direct && adds ? rows : nullptr, out, {});
        for (int r = 0; r < alive && !direct; ++r)
            for (int64_t u = 0; u < count; ++u) {
                const T product = masks[r] ? tile[r][u] * masks[r][unit + u] : tile[r][u];
                rows[r][u] = adds ? rows[r][u] + product : product;
            }
        if (const T clip = T(window.clip_state_grad); clip > 0)
            for (int r = 0; r < alive; ++r)
                for (int64_t u = 0; u < count; u += lanes<T>)
                    store(rows[r] + u, clamp<T>(load(rows[r] + u, count - u), -clip, clip), count - u);
    }

    // grad_x = grad_gates W_ih for steps first..last, from what is packed of them.
    void input_gradient(Worker &worker, int64_t first, int64_t last) {
        for (int64_t block = 0; block < columns_of_x.count(); ++block)
            for (int64_t step = first; step < last; ++step)
                for (size_t i = 0; i < worker.chunks.size(); ++i)
                    if (const int alive = worker.chunks[i]->alive(step))
                        input_gradient(*worker.chunks[i], alive, step, block, packed_gates_of(worker, i, step - first));
    }
    void input_gradient(const Chunk &chunk, int alive, int64_t step, int64_t block, const E *gates) {
        const int64_t first = block * panel_width<P>, count = columns_of_x.size(block);
        T tile[max_rows][panel_width<P>];
        T *rows[max_rows] = {}, *out[max_rows] = {};
        const int kernel_rows = chunk.kernel_rows(alive);
        const bool direct = count == columns_of_x.width(block);
        this->at(chunk, alive, step, static_cast<T *>(window.grad_x), input_size, rows);
        for (int r = 0; r < kernel_rows; ++r) out[r] = direct && r < alive ? rows[r] + first : tile[r];
        kernels<P>.of[kernel_rows - 1][columns_of_x.vectors(block) - 1](
            gates + Cell::has_q * gate_elements() * chunk.count, chunk.count,
            input_weights.data() + block * panel_elements(), packed_depth(), nullptr, out, {});
        for (int r = 0; r < alive && !direct; ++r) std::copy_n(tile[r], count, rows[r] + first);
    }
};

}  // namespace rnnlab::RNNLAB_ISA
