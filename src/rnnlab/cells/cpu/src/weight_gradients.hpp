// The weights' gradients of one layer in one direction, once the backward pass has left those of the gates.
//
// Each is one sum over all steps in one order, so that results do not depend on chance: for one block of steps after
// the other the threads pack inputs and states together, and then divide the rows of the gradients.
#pragma once
#include "layout.hpp"

namespace rnnlab::RNNLAB_ISA {

template <class P, class Cell> class WeightGradients {
    using T = Value<P>;
    using Places = std::vector<const T *>;

  public:
    explicit WeightGradients(const Layout<P, Cell> &layout) : layout(layout), window(layout.window) {
        for (int64_t t = 0; t < layout.steps; ++t)
            for (int64_t row = 0; row < layout.batch; ++row) {
                if (t >= layout.length(row)) continue;
                const int64_t place = t * layout.batch + row;
                inputs.push_back(static_cast<const T *>(window.x) + place * layout.input_size);
                states.push_back(layout.state_before(window.h_0, window.y, t, row));
                grad_gates.push_back(layout.grad_gates(place));
                if (Cell::has_q) grad_q.push_back(layout.grad_q(place));
                if (window.recurrent_mask)
                    masks.push_back(static_cast<const T *>(window.recurrent_mask) + row * hidden_size);
            }
    }

    void run() {
        const int64_t depth = grad_gates.size(), block = block_depth<P>(depth);
        Side x{{inputs.data(), true}, {block, layout.input_size}, static_cast<T *>(window.grad_weight_ih)};
        Side h{{states.data(), true, window.recurrent_mask ? masks.data() : nullptr},
               {block, hidden_size},
               static_cast<T *>(window.grad_weight_hh)};
        std::vector<Left<P>> left(layout.threads);
        for (int64_t k0 = 0; k0 < depth; k0 += block) {
            const int64_t deep = std::min(block, depth - k0);
            in_parallel(layout.threads, [&](int thread, int threads) {
                for (Side *side : {&x, &h})
                    share(side->packed.panels(), thread, threads,
                          [&](int64_t j) { side->packed.fill(side->all, k0, deep, j); });
            });
            in_parallel(layout.threads, [&](int thread, int threads) {
                const Part part(layout, thread, threads);
                add_products(grad_gates, 0, k0, deep, part.first, part.end, {&x, &h}, left[thread]);
                if (part.end == part.last) return;
                add_products(grad_gates, 0, k0, deep, part.end, part.last, {&x}, left[thread]);
                add_products(grad_q, 2 * hidden_size, k0, deep, part.end, part.last, {&h}, left[thread]);
            });
        }
        in_parallel(layout.threads, [&](int thread, int threads) {
            const Part part(layout, thread, threads);
            for (const Side *side : {&x, &h})
                if (depth == 0) std::fill(side->row(part.first), side->row(part.last), T(0));
            bias_gradients(part);
        });
    }

  private:
    // What the gates' gradients are multiplied by for a weight's: all of it, and a block of steps, packed.
    struct Side {
        Matrix<T> all;
        Panels<P> packed;
        T *grad;

        T *row(int64_t gate_row) const { return grad + gate_row * packed.columns; }
    };

    // One thread's part of the gate rows. From `end` on a GRU's are below its reset gate, where grad_q meets W_hh.
    struct Part {
        int64_t first, end, last;

        Part(const Layout<P, Cell> &layout, int thread, int threads)
            : first(layout.gate_rows * thread / threads), last(layout.gate_rows * (thread + 1) / threads) {
            end = Cell::has_q ? std::max(first, std::min(last, 2 * layout.hidden_size)) : last;
        }
    };

    const Layout<P, Cell> &layout;
    const rnnlab_window &window;
    const int64_t hidden_size = layout.hidden_size;
    // All steps that happened, by time and row: their inputs, states before them, masks of these, gradients.
    Places inputs, states, masks, grad_gates, grad_q;

    // Add what steps k0.. give to gradients' rows first..last. `left` begins with the gradient of row `left_row`.
    void add_products(const Places &left, int64_t left_row, int64_t k0, int64_t deep, int64_t first, int64_t last,
                      const std::vector<const Side *> &sides, Left<P> &packed) const {
        Places columns(left.begin() + k0, left.begin() + k0 + deep);
        for (const T *&column : columns) column += first - left_row;
        std::vector<std::vector<T *>> out;
        std::vector<Target<P>> targets;
        for (const Side *side : sides) {
            out.emplace_back();
            for (int64_t row = first; row < last; ++row) out.back().push_back(side->row(row));
            targets.push_back({side->packed.panel(0, 0), side->packed.panel_elements(), side->packed.columns, nullptr,
                               out.back().data(), k0 > 0});
        }
        multiply_block<P>({columns.data(), true}, last - first, 0, deep, targets, packed);
    }

    void bias_gradients(const Part &part) const {
        T *ih = static_cast<T *>(window.grad_bias_ih), *hh = static_cast<T *>(window.grad_bias_hh);
        sum(grad_gates, 0, part.first, part.last, ih);
        std::copy(ih + part.first, ih + part.end, hh + part.first);
        sum(grad_q, 2 * hidden_size, part.end, part.last, hh);
    }

    static void sum(const Places &left, int64_t left_row, int64_t first, int64_t last, T *out) {
        std::fill(out + first, out + last, T(0));
        for (const T *place : left)
            for (int64_t row = first; row < last; row += lanes<T>) {
                const int64_t n = last - row;
                store(out + row, load(out + row, n) + load(place + row - left_row, n), n);
            }
    }
};

}  // namespace rnnlab::RNNLAB_ISA
