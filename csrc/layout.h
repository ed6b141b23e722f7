// What the layer, which plans a call and places its scratch, and the kernels, which walk through it, must agree on.
// All is static: the objects of an instruction set share no symbol.
#ifndef GRUS_LAYOUT_H
#define GRUS_LAYOUT_H

#include "gru.h"

// Whether a gain normalises the recurrent products (normalise/).
static inline bool normalises(const gru_packed &w) { return w.gain != nullptr; }

// Whether x is W x + b_i already, of 3H values.
static inline bool takes_projected(const gru_packed &w) { return normalises(w); }

// Whether steps may begin with other states than the last ones as they are.
static inline bool copies_states(const gru_extras &more) { return more.marks || more.drop; }

// Floats of a row of the states that are copied; `seen` is apart only where it differs.
static inline int64_t copied(const gru_packed &w, const gru_extras &more) { return copies_states(more) ? w.HP : 0; }
static inline int64_t dropped(const gru_packed &w, const gru_extras &more) { return more.drop ? w.HP : 0; }

// The slots of a row of `gru_backward::slots`, each of HP floats; what they hold: backward/chunk.inl. Behind
// those of normalised products are two scales in V floats.
enum { DN, DR, DZ, DU, KEEP, PLAIN_SLOTS, UNIT_R = PLAIN_SLOTS, UNIT_Z, UNIT_N, RAW_R, RAW_Z, RAW_N, SCALES };

static inline int64_t slots_row(const gru_packed &w, int64_t V) {
    return normalises(w) ? SCALES * w.HP + V : PLAIN_SLOTS * w.HP;
}

// Floats of weights as given that a worker turns into a panel at a time, for more rows than one tile's.
static inline int64_t turned_size(const gru_packed &w, int64_t V, bool several) {
    return w.given && several ? 3 * V * (w.H > w.I ? w.H : w.I) : 0;
}

// And of the sums that wait while its rows are read on the way back, of ROWS_BACK rows at a time, and a strip of them.
static constexpr int64_t ROWS_BACK = 128, STRIP = 192;  // STRIP: vectors
static inline int64_t waiting_sums(const gru_packed &w, int64_t V) {
    int64_t columns = w.HP > w.I ? w.HP : (w.I + V - 1) / V * V;
    return w.given ? ROWS_BACK * columns + STRIP * V : 0;
}

// And of U, turned once for all steps of a forward pass while L2 keeps what was turned; its marks, of U_n apart.
static constexpr int64_t TURNED_FLOATS = 1 << 19;
static inline bool turns_for_all(const gru_packed &w, const gru_sequence &q) {
    return w.given && q.T > 1 && 3 * w.HP * w.H <= TURNED_FLOATS;
}
static inline int64_t turned_steps(const gru_packed &w) { return 3 * w.HP * w.H; }
static inline int64_t turned_marks(const gru_packed &w, int64_t V) { return 2 * w.HP / V; }

template <class Each>
static inline void each_scratch(gru_ends &ends, const gru_sequence &q, bool early, Each each) {
    each(ends.order, early ? q.B : 0);
    each(ends.rank, early ? q.B : 0);
    each(ends.before, early ? 2 * (q.T + 1) : 0);
}

// The scratch of a call, array by array: each(pointer, floats). Total and places follow from it. `early`: rows end so.
template <class Each>
static inline void each_scratch(gru_forward &f, const gru_packed &w, int64_t V, int shards, bool early, Each each) {
    int64_t states = f.B * w.HP;
    each_scratch(f.ends, f, early, each);
    each(f.inputs, early ? f.inputs_size * shards : 0);
    each(f.projected, f.projected_size * shards);
    each(f.states, f.states_size * shards);
    each(f.reset, w.reset_after ? 0 : states);
    each(f.update, w.reset_after ? 0 : states);
    each(f.raw, normalises(w) ? 3 * states : 0);
    each(f.turned, f.turned_size * shards);
    bool several = turns_for_all(w, f);
    each(f.turned_steps, several ? turned_steps(w) * shards : 0);
    each(f.turned_marks, several ? turned_marks(w, V) * shards : 0);
}

// Floats of x in a row of the operands.
static inline int64_t operand_x_row(const gru_packed &w, int64_t V) {
    return takes_projected(w) ? 0 : (w.I + V - 1) / V * V;
}

template <class Each>
static inline void each_scratch(gru_backward &f, const gru_packed &w, int64_t V, int shards, bool early, Each each) {
    int64_t rows = f.chunk * f.B;
    each_scratch(f.ends, f, early, each);
    each(f.inputs, early ? rows * w.I : 0);
    each(f.places, early ? 2 * rows : 0);
    each(f.slots, rows * f.slots_row);
    each(f.operand_x, rows * operand_x_row(w, V));
    each(f.operand_h, rows * w.HP);
    each(f.operand_rh, w.reset_after ? 0 : rows * w.HP);
    each(f.carry, f.B * w.HP);
    each(f.past, rows * copied(w, f.more));
    each(f.seen, rows * dropped(w, f.more));
    each(f.turned, f.turned_size * shards);
}

#endif
