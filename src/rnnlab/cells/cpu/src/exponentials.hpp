// What the cross-entropy keeps of a chunk's scores: their exponentials, in the order in which products read them.
//
// [panel of words][row][word]: as a left factor, rows by words, a panel's rows are the pieces of `piece_kernel`; as a
// right factor, words deep in rows, it is a packed panel as it stands, or nearly so where two numbers share an element.
#pragma once
#include "product.hpp"

namespace rnnlab::RNNLAB_ISA {

template <class P> class Exponentials {
    using T = Value<P>;
    using E = Element<P>;

  public:
    static constexpr int64_t bytes_of_row = piece<P> * sizeof(E);  // in one panel

    // Make room, once.
    void resize(int64_t panels, int64_t rows) {
        between = (rows | 1) * piece<P>;  // odd, or the panels of a row would crowd in a few sets of the cache
        storage = static_cast<E *>(lease.take(panels * between * sizeof(E)));
    }
    E *row(int64_t panel, int64_t r) { return storage + panel * between + r * piece<P>; }
    int64_t panel_stride() const { return between; }
    T get(int64_t word, int64_t r) { return P::get(row(word / panel_width<P>, r), word % panel_width<P>); }
    void set(int64_t word, int64_t r, T x) { P::set(row(word / panel_width<P>, r), word % panel_width<P>, x); }

    // A panel, or one vector of it, as a right factor of `rows` deep. Its column c is the panel's word `word_of(c)`;
    // where numbers share an element, both vectors are needed.
    const E *deep(int64_t panel, int64_t rows, int vectors, Buffer<E> &scratch) {
        const E *from = row(panel, 0);
        if (P::depth == 1 && vectors == 2) return from;
        scratch.reserve(elements<P>(rows) * panel_width<P>);
        E *out = scratch.data();
        if constexpr (P::depth == 1) {
            for (int64_t r = 0; r < rows; ++r) store(out + r * lanes<E>, load(from + r * piece<P>));
        } else {
            for (int64_t r = 0; r < rows; r += 2, from += 2 * piece<P>, out += panel_width<P>)
                for (int64_t c = 0; c < piece<P>; c += lanes<E>) {
                    const Vector<E> above = load(from + c);
                    const Vector<E> below = r + 1 < rows ? load(from + piece<P> + c) : Vector<E>{};
                    store(out + c, (above & 0xffff) | below << 16);
                    store(out + piece<P> + c, above >> 16 | (below & 0xffff0000));
                }
        }
        return scratch.data();
    }
    static constexpr int64_t word_of(int64_t c) { return P::depth == 1 ? c : c % piece<P> * 2 + c / piece<P>; }

  private:
    Lease lease;
    E *storage = nullptr;
    int64_t between = 0;
};

}  // namespace rnnlab::RNNLAB_ISA
