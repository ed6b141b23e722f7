// The states around a step: which rows have one (marks), what they begin it with (restart, drop), what stays (zone).

namespace {

struct state {  // the state before a step
    const float *h;
    int64_t stride;
    GRUS_INLINE const float *row(int64_t b) const { return h + b * stride; }
};

struct states {  // before a step: what carries on, and what U sees of it
    state past, seen;
};

// The step that is t in time, of step s.
GRUS_INLINE int64_t time_of(const gru_sequence &q, int64_t s) { return q.reverse ? q.T - 1 - s : s; }

// The gates r, z, n and u_n of the step t, [B][4][HP], where its call keeps them.
GRUS_INLINE float *saved_at(const gru_sequence &q, int64_t t, int64_t HP) {
    return q.saved + (q.reverse ? t : t - q.saved_from) * q.B * 4 * HP;
}

GRUS_INLINE bool marked(const gru_sequence &q, int64_t t, int64_t b, int mark) {
    return q.more.marks && (q.more.marks[t * q.B + b] & mark) != 0;
}
GRUS_INLINE bool skipped(const gru_sequence &q, int64_t t, int64_t b) { return marked(q, t, b, GRU_SKIP); }
GRUS_INLINE bool restarts(const gru_sequence &q, int64_t t, int64_t b) { return marked(q, t, b, GRU_RESTART); }

// Whether step t is skipped by all of some rows.
GRUS_INLINE bool idle(const gru_sequence &q, int64_t t, int64_t b, int64_t rows) {
    for (int64_t i = 0; i < rows; i++)
        if (!skipped(q, t, b + i)) return false;
    return true;
}

// Whether row b skips some steps from t on.
GRUS_INLINE bool idle_steps(const gru_sequence &q, int64_t t, int64_t b, int64_t steps) {
    for (int64_t i = 0; i < steps; i++)
        if (!skipped(q, t + i, b)) return false;
    return true;
}

GRUS_INLINE bool zones(const gru_extras &more) { return more.zone || more.zone_all != 0.0f; }

// What stays of some units of row b whatever z says
GRUS_INLINE vec zone_of(const gru_sequence &q, int64_t H, int64_t t, int64_t b, int64_t unit) {
    return q.more.zone ? load_some(q.more.zone + (t * q.B + b) * H + unit, H - unit) : splat(q.more.zone_all);
}

// `drop` of some units of row b, which must be there
GRUS_INLINE vec drop_of(const gru_sequence &q, int64_t H, int64_t b, int64_t unit) {
    return load_some(q.more.drop + b * H + unit, H - unit);
}

// The states of row b that step t begins with: `past`, and `seen` by U.
GRUS_INLINE void begin_with(const gru_sequence &q, int64_t H, int64_t t, int64_t b, const float *h, float *past,
                            float *seen) {
    if (restarts(q, t, b)) h = q.more.restart ? q.more.restart + b * q.more.restart_b : nullptr;
    for (int64_t unit = 0; unit < H; unit += V) {
        vec a = h ? load_some(h + unit, H - unit) : splat(0.0f);
        store(past + unit, a);
        store(seen + unit, q.more.drop ? mul(a, drop_of(q, H, b, unit)) : a);
    }
}

// The states before step t of a shard's rows, in its scratch where they are not the last ones as they are.
states states_of(const gru_packed *w, const gru_sequence &q, const part &mine, state before, int64_t t,
                 float *scratch) {
    bool restart = false;
    for (int64_t b = mine.b0; b < mine.b1; b++) restart = restart || restarts(q, t, b);
    if (!restart && !q.more.drop) return {before, before};
    int64_t HP = w->HP;
    float *past = scratch - mine.b0 * HP, *seen = past + mine.rows() * HP;
    for (int64_t b = mine.b0; b < mine.b1; b++) begin_with(q, w->H, t, b, before.row(b), past + b * HP, seen + b * HP);
    return {{past, HP}, {seen, HP}};
}

}  // namespace
