// The C interface of the CPU engine: one call runs one layer in one direction over a whole window.
//
// Shapes: T steps, B batch, I input_size, H hidden_size, G gates of the cell (RNN 1, GRU 3, LSTM 4). All arrays are
// contiguous, row by row. Every pointer but those marked "or null" must be given for the cell at hand.
// Memory belongs to the caller; nothing is kept between calls but what rnnlab_pack gives and, in rnnlab_judge, one
// piece of memory for the next call to work in.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RNNLAB_EXPORT __attribute__((visibility("default")))
#define RNNLAB_ENGINE_INTERFACE 5  // raised when this file changes; the loader refuses any other

enum rnnlab_cell { RNNLAB_TANH = 0, RNNLAB_RELU = 1, RNNLAB_LSTM = 2, RNNLAB_GRU = 3 };
// How products are formed. BFLOAT16: float32 arrays, factors rounded to bfloat16, sums in float32.
enum rnnlab_arithmetic { RNNLAB_FLOAT32 = 0, RNNLAB_FLOAT64 = 1, RNNLAB_BFLOAT16 = 2 };

typedef struct rnnlab_packed rnnlab_packed;  // weights of a layer, packed

struct rnnlab_window {
    int32_t cell, arithmetic, reverse, threads;
    int64_t steps, batch, input_size, hidden_size;
    const int64_t *lengths;  // (B,) valid steps, 0..T; or null: all T
    // forward: in
    const void *x;                            // (T, B, I)
    const void *h_0, *c_0;                    // (B, H); c_0 of an LSTM only
    const void *weight_ih, *weight_hh;        // (G*H, I), (G*H, H)
    const void *bias_ih, *bias_hh;            // (G*H,) or both null
    const rnnlab_packed *packed;              // what rnnlab_pack gave for these weights and biases, or null
    const void *recurrent_mask;               // (B, H) scale of h in the recurrent product, or null
    const uint8_t *zoneout_h, *zoneout_c;     // (T, B, H): 1 where a state keeps what it was, or null
    double zoneout_h_share, zoneout_c_share;  // without a mask: the share of what it was that it keeps
    // forward: out
    void *y;          // (T, B, H), 0 past each length
    void *h_n, *c_n;  // (B, H)
    // For the backward pass, or null if none follows; 0 past each length:
    void *gates;  // (T, B, G*H); not of an RNN, whose outputs say it
    void *saved;  // (T, B, H): c of an LSTM, W_hn h + b_hn of a GRU; of an RNN the output
                  // before zoneout, if there is zoneout
    // backward: in (beside all of the above)
    const void *grad_y;               // (T, B, H) or null
    const void *grad_h_n, *grad_c_n;  // (B, H) or null
    double clip_state_grad;           // bound on what flows from a step to the one before; 0: none
    // backward: out
    void *workspace;                        // T*B*G*H numbers, and T*B*H more for a GRU
    void *grad_x;                           // (T, B, I) or null
    void *grad_h_0, *grad_c_0;              // (B, H)
    void *grad_weight_ih, *grad_weight_hh;  // (G*H, I), (G*H, H)
    void *grad_bias_ih, *grad_bias_hh;      // (G*H,)
};

// C (M, N) = A B + bias. A is (M, K), or (K, M) if a_transposed; B is (K, N), or (N, K) if b_transposed.
struct rnnlab_product {
    int32_t arithmetic, threads, a_transposed, b_transposed;
    int64_t rows, columns, depth;
    const void *a, *b, *bias;  // bias (N,) or null
    void *c;
};

// Summed cross-entropy, in nats, of targets under softmax(h weight^T + bias). N rows, H hidden_size, V vocab_size.
struct rnnlab_cross_entropy {
    int32_t arithmetic, threads;
    int64_t rows, hidden_size, vocab_size, ignore_index;
    double grad_scale;                       // what gradients are multiplied by
    const void *h, *weight, *bias;           // (N, H), (V, H), (V,) or null
    const int64_t *targets;                  // (N,), each in 0..V - 1, or ignore_index: the row does not count
    double *nats;                            // their sum
    void *grad_h, *grad_weight, *grad_bias;  // its gradients, (N, H), (V, H), (V,) or null; or all null
};

// y = x, each entry zeroed with probability p and else divided by 1 - p; which ones is a function of the seed.
struct rnnlab_dropout {
    int32_t arithmetic, threads;
    int64_t count;
    uint64_t seed;
    double p;  // below 1
    const void *x;
    void *y;  // may be x
};

// Text drawn from a language model, token after token. R rows, L layers, V vocab_size; float32 arrays.
struct rnnlab_text {
    int32_t threads;
    int64_t steps, rows, num_layers, vocab_size;
    const struct rnnlab_window *layers;         // (L,): cell, sizes, weights and biases, batch R; h_n, c_n: the state,
                                                // in: before the first step, out: after the last
    const void *embedding;                      // (V, I of the first layer)
    const void *decoder_weight, *decoder_bias;  // (V, H of the last layer), (V,)
    double temperature;                         // scores are divided by it; 0: the likeliest token
    int64_t top_k;                              // draw among so many, at least 1
    double top_p;                               // among the fewest that hold this probability, 1: all
    const uint8_t *forbidden;                   // (V,): 1 where a token is never drawn, or null
    const double *levels;                       // (steps, R) uniform in [0, 1), or null at temperature 0
    int64_t stop_id;                            // a text is over when it draws this
    const int64_t *last_tokens;                 // (R,) inputs of the first step
    uint8_t *stopped;                           // (R,): 1 where a text is over
    int64_t *tokens;                            // out: (steps, R); -1: the scores were nan or infinite
    int64_t *made;                              // out: how many steps there were until every text was over
};

// The instruction set that calls use: "avx512", "avx2" or "portable".
RNNLAB_EXPORT const char *rnnlab_instruction_set(void);
// Use another set, for tests; 0, or 1 if this processor or build lacks it. Null: the best.
RNNLAB_EXPORT int rnnlab_use_instruction_set(const char *name);
// Whether this processor and build multiply bfloat16 themselves; if not, RNNLAB_BFLOAT16 is imitated, slowly.
RNNLAB_EXPORT int rnnlab_has_bfloat16(void);
RNNLAB_EXPORT int rnnlab_interface(void);
// Pack a window's weights and biases for many forward passes without a backward one; null if memory ran out. Of the
// window, only what describes cell, arithmetic, threads, sizes and weights is read. rnnlab_free gives the memory back.
RNNLAB_EXPORT rnnlab_packed *rnnlab_pack(const struct rnnlab_window *);
RNNLAB_EXPORT void rnnlab_free(rnnlab_packed *);
// These return 0, or 1 if memory ran out, or 2 if `packed` is of another cell, size or instruction set.
RNNLAB_EXPORT int rnnlab_forward(const struct rnnlab_window *);
RNNLAB_EXPORT int rnnlab_backward(const struct rnnlab_window *);
RNNLAB_EXPORT int rnnlab_multiply(const struct rnnlab_product *);
RNNLAB_EXPORT int rnnlab_judge(const struct rnnlab_cross_entropy *);
RNNLAB_EXPORT int rnnlab_drop(const struct rnnlab_dropout *);
RNNLAB_EXPORT int rnnlab_write(const struct rnnlab_text *);

#ifdef __cplusplus
}
#endif
