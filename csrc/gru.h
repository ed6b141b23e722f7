// The contract between the kernels and everything else: plain structs and pointers, no library.
//
//   T time, B batch, I input size, H hidden size. Gates in the order r (reset), z (update), n (candidate).
//   V is a kernel table's vector width in floats. Units are handled in tiles of V: tile j holds units jV to jV + V - 1;
//   a last tile that is not full is padded with zero weights. HP = ceil(H / V) * V.
//
// All arrays are float32. Strides count floats; features are contiguous. No array may overlap another unless its note
// says so. Nothing is kept after a call: every pointer is the caller's.
//
// The sum behind an output element is taken in one order of k (a chain of fused multiply-adds for every 64 terms, the
// chains added in turn), whatever the tile, the batch, the chunk, the thread or the call it is computed in. That is why
// the bits of a forward pass depend on none of these.
#ifndef GRUS_GRU_H
#define GRUS_GRU_H

#include <stdint.h>

// What a worker of a parallel region gets. Every worker walks through the same phases in the same order. In each,
// `claim` gives a shard that nobody has taken, or -1 when none is left; `done` says that a claimed one is computed;
// `next` waits until all shards of the phase are, and goes on to the next phase. A worker that is alone (shards is 1)
// calls none.
struct gru_worker {
    int index, shards;
    int64_t phase;
    int (*claim)(gru_worker *);
    void (*done)(gru_worker *);
    void (*next)(gru_worker *);
};

// One layer in one direction. `weight_ih` [3H, I], `weight_hh` [3H, H], `bias_ih`, `bias_hh` [3H] or null for zeros.
struct gru_weights {
    int64_t I, H;
    int reset_after;  // 1: n = tanh(W_n x + b_in + r (U_n h + b_hn));  0: n = tanh(W_n x + b_in + U_n (r h) + b_hn)
    const float *weight_ih, *weight_hh, *bias_ih, *bias_hh;
    const float *gain_hh;  // [3H] where the recurrent products are normalised (normalise/), else null. Then x is
                           // already W x + b_i: I is 3H, weight_ih and bias_ih are null
};

// The same weights in the order in which the tiles read them. A panel is one tile's weights, [K][gates][V].
//   W    [HP/V][I][3][V]    r, z, n                           reset_after and not
//   U    [HP/V][H][3][V]    r, z, n                           reset_after
//   U_rz [HP/V][H][2][V]    r, z   } U points to U_rz,        reset before
//   U_n  [HP/V][H][1][V]    n      } U_n follows
//   bias [HP/V][4][V]       b_ir + b_hr, b_iz + b_hz, b_in (+ b_hn where the reset comes before), b_hn
// For the backward pass, with rows (k) in the order that the gradients are kept in, HP of each gate:
//   Wt   [ceil(I/V)][3HP][V]   k = n, r, z
//   Ut   [HP/V][3HP][V]        k = r, z, n                    reset_after
//   Ut   [HP/V][2HP][V], Ut_n [HP/V][HP][V]                   reset before: r, z and n apart
// Or as they are given, where few steps are not worth a copy: then W and U are [3H, I] and [3H, H] as above, U_n is
// U + 2 H H where the reset comes before, and Wt, Ut and Ut_n are W, U and U_n. Bias and gain are packed all the same.
struct gru_packed {
    int64_t I, H, HP;
    int reset_after;
    bool given;
    float *W, *U, *U_n, *bias;  // the first of each memory aligned to 64 bytes
    float *Wt, *Ut, *Ut_n;      // null where only the forward pass is packed
    float *gain;                // [HP/V][3][V], or null: no normalisation; else W and Wt are null
};

// What a sequence may ask for beyond the plain recurrence; null where it does not.
struct gru_extras {
    const uint8_t *marks;  // [T, B] of the marks below
    const float *restart;  // [B, H], stride restart_b: the state that a restart begins with, or null for zeros
    int64_t restart_b;
    const float *zone;  // [T, B, H] contiguous: the part of a unit that stays as it was, whatever z says (zoneout)
    float zone_all;     // the same for all, where `zone` is null
    const float *drop;  // [B, H] contiguous: multiplies h where U does
};

// SKIP: the row has no step t, its state stays. All others of a row follow its skipped steps in one direction, and come
// before them in the other. RESTART: before step t the state is that of `restart`.
enum { GRU_SKIP = 1, GRU_RESTART = 2 };

// What both passes of a call are given. y[t, b] is the state after step t of row b, and zero where the step is skipped.
// Step s works on t = s, or t = T - 1 - s if `reverse`.
struct gru_sequence {
    int64_t T, B;
    bool reverse;
    const float *x;  // [T, B, I], strides x_t, x_b
    int64_t x_t, x_b;
    const float *h0;  // [B, H], stride h_b (0 repeats one row)
    int64_t h_b;
    float *y;  // [T, B, H], strides y_t, y_b; must not overlap h0. The way back reads it, but where a step is skipped
    int64_t y_t, y_b;
    // [T - saved_from, B, 4, HP]: r, z, n and u_n = U_n h + b_hn (only where the reset comes after) of the steps
    // s >= saved_from, in the order of t: the forward pass writes them, the way back reads them and computes the others
    // once more. Or null: none. Where rows end early and saved_from is not 0, the same memory takes as many of the last
    // steps as fit into it when only rows that have a step are kept (gru_ends)
    float *saved;
    int64_t saved_from;
    gru_extras more;
};

struct gru_forward_call : gru_sequence {
    float *h_n;  // [B, H] contiguous: the last states; or null. Taken from y by passes.cpp, not by the kernels, as are
                 // the zeros of y where a step is skipped
};

// Gradients of a loss, given dy (or null for zeros) and dh_n (or null), the gradient by the last state.
struct gru_backward_call : gru_sequence {
    const float *dy;  // [T, B, H], strides dy_t, dy_b; or null
    int64_t dy_t, dy_b;
    const float *dh_n;  // [B, H] contiguous, or null
    float *dx;          // [T, B, I], strides dx_t, dx_b; or null where it is not wanted
    int64_t dx_t, dx_b;
    bool add_dx;         // to what dx holds
    float *dh0;          // [B, H] contiguous; or null where it is not wanted
    float *dW, *dU;      // [3H, I], [3H, H] contiguous; both or neither may be null. Normalised: dW and db_i always are
    float *db_i, *db_h;  // [3H]; not null where dW is not
    float *dgain;        // [3H] where products are normalised and dU is not null
    float *drestart;     // [B, H] contiguous, added to; or null
};

// Where rows end early the batch is walked in the order of their steps, the most first: the rows that have a step are
// then the first ones, and nothing is computed for the others. A place is a row's number in the order of a pass. All
// null where no step is skipped.
struct gru_ends {
    int32_t *order;   // [B]: the row of the batch at a place
    int32_t *rank;    // [B]: of a place, the row's number among all by their steps; ascending in every shard's rows
    int64_t *before;  // [T + 1]: rows that have a step, of all steps before step s together
    int64_t few[6];   // the first t that B/2, B/4, … rows have at most, or T. Here, for the workers that hold no shard
    bool close;       // `saved` is [rows that have a step, 4, HP], step after step, each in the order of rank
};

// A call with its plan and its scratch. How long each array of scratch is, and when it is there: layout.h.
struct gru_forward : gru_forward_call {
    gru_ends ends;
    bool shard_units;        // a shard is some units of all rows, or some rows of the batch
    int64_t chunk;           // steps that are projected at a time
    int64_t projected_size;  // floats of a shard's
    float *projected;        // [chunk, rows, tiles, 3, V] of each shard
    int64_t inputs_size;
    float *inputs;  // [chunk rows, I] of each shard: x of the rows that have a step, where some end early
    int64_t states_size;
    float *states;          // [2][rows, HP] of each shard: the state with restarts, and that times `drop`
    float *reset, *update;  // [B, HP] each, shared: r h and z where the reset comes before
    float *raw;             // [B][3][HP], shared: products to be normalised
    int64_t turned_size;
    float *turned;                       // of each worker: weights as given, turned into panels for the rows that pass
    float *turned_steps, *turned_marks;  // of each worker: U turned for all steps, and which of its panels are
};

struct gru_backward : gru_backward_call {
    gru_ends ends;
    bool shard_units;
    int64_t chunk;       // steps whose gates are at hand at a time; more where few rows have them
    int64_t slots_row;   // floats of a row of `slots`
    float *slots;        // [chunk, B, slots_row], shared: gates, then their gradients (the slots of layout.h)
    float *carry;        // [B, HP], shared
    float *past, *seen;  // [chunk, B, HP] each, shared: as `states` of the forward pass
    float *inputs;       // [chunk B, I], shared: x of the rows that have a step, where some end early
    int32_t *places;     // [chunk B][2], shared: their steps and places
    float *operand_x, *operand_h, *operand_rh;  // [tiles][chunk B][V] each, shared: the right sides of the gradients by
                                                // the weights; operand_rh is operand_h where the reset comes after
    int64_t turned_size;
    float *turned;  // as in the forward pass
};

// y = x Aᵀ + b: x [rows, K] with stride x_r, y [rows, O] with stride y_r, panels [ceil(O/V)][K][V], bias
// [ceil(O/V)][V].
struct gru_dense {
    int64_t rows, K, O;
    const float *x;
    int64_t x_r;
    float *y;
    int64_t y_r;
    const float *panels, *bias;
};

// y = gain x̂ + bias, where x̂ is x with mean 0 and deviation 1: of every row of [rows, 3H] its first 2H values together
// (r and z), and its last H (n). All contiguous. Back: from dy to dx, and to the gradients by gain and bias.
struct gru_normalise {
    int64_t rows, H;
    const float *x, *gain, *bias;  // bias may be null
    float *y;
    const float *dy;
    float *dx, *dgain_dbias;  // [rows, 3H], [2][3H]
    float *sums;              // scratch [2][3H] of each shard
};

struct gru_kernels {
    const char *name;
    int width;  // V
    int tile;   // rows of a full tile: shards of the batch are best a multiple of it
    // dst [ceil(rows/V)][K][gates][V] from element (row, k) of gate g at src[g * src_gate + row * src_row + k * src_k];
    // rows past the end become zeros. src_row or src_k is 1.
    void (*pack)(float *dst, const float *src, int64_t rows, int64_t K, int gates, int64_t src_gate, int64_t src_row,
                 int64_t src_k);
    void (*forward)(const gru_packed *, const gru_forward *, gru_worker *);
    void (*backward)(const gru_packed *, const gru_backward *, gru_worker *);
    void (*forward_given)(const gru_packed *, const gru_forward *, gru_worker *);  // of weights as they are given
    void (*backward_given)(const gru_packed *, const gru_backward *, gru_worker *);
    void (*dense)(const gru_dense *, gru_worker *);
    void (*normalise)(const gru_normalise *, gru_worker *);
    void (*normalise_back)(const gru_normalise *, gru_worker *);
    // dst[i] = σ(src[i]) (function 0) or tanh(src[i]) (1), i < n; dst may be src
    void (*activation)(float *dst, const float *src, int64_t n, int function);
};

// The tables, best first; dispatch.cpp. `gru_tables` gives those that this CPU can run.
int gru_tables(const gru_kernels **tables, int capacity);

#endif
