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

// The row of the batch at a place.
GRUS_INLINE int64_t row_at(const gru_ends &ends, int64_t place) { return ends.order ? ends.order[place] : place; }

// The places of [b0, b1) that have step s are those before this one.
GRUS_INLINE int64_t end_of_step(const gru_ends &ends, int64_t s, int64_t b0, int64_t b1) {
    if (!ends.order) return b1;
    int64_t rows = ends.before[s + 1] - ends.before[s];
    while (b0 < b1) {
        int64_t middle = (b0 + b1) / 2;
        if (ends.rank[middle] < rows)
            b0 = middle + 1;
        else
            b1 = middle;
    }
    return b0;
}

// The gates r, z, n and u_n [4][HP] of the row at a place in step s, where its call keeps them.
GRUS_INLINE float *saved_at(const gru_sequence &q, const gru_ends &ends, int64_t s, int64_t place, int64_t HP) {
    int64_t t = time_of(q, s), step = q.reverse ? t : t - q.saved_from;
    int64_t row =
        ends.close ? ends.before[s] - ends.before[q.saved_from] + ends.rank[place] : step * q.B + row_at(ends, place);
    return q.saved + row * 4 * HP;
}

GRUS_INLINE bool marked(const gru_sequence &q, int64_t t, int64_t b, int mark) {
    return q.more.marks && (q.more.marks[t * q.B + b] & mark) != 0;
}
GRUS_INLINE bool skipped(const gru_sequence &q, int64_t t, int64_t b) { return marked(q, t, b, GRU_SKIP); }
GRUS_INLINE bool restarts(const gru_sequence &q, int64_t t, int64_t b) { return marked(q, t, b, GRU_RESTART); }

GRUS_INLINE bool zones(const gru_extras &more) { return more.zone || more.zone_all != 0.0f; }

// What stays of some units of row b whatever z says
GRUS_INLINE vec zone_of(const gru_sequence &q, int64_t H, int64_t t, int64_t b, int64_t unit) {
    return q.more.zone ? load_some(q.more.zone + (t * q.B + b) * H + unit, H - unit) : splat(q.more.zone_all);
}

// `drop` of some units of row b, which must be there
GRUS_INLINE vec drop_of(const gru_sequence &q, int64_t H, int64_t b, int64_t unit) {
    return load_some(q.more.drop + b * H + unit, H - unit);
}

// The states of row b that step s begins with, of the last ones y: `past`, and `seen` by U where `drop` makes it
// another.
GRUS_INLINE void begin_with(const gru_sequence &q, int64_t H, int64_t s, int64_t b, float *past, float *seen) {
    int64_t t = time_of(q, s), last = q.reverse ? t + 1 : t - 1;
    const float *h = q.h0 + b * q.h_b;
    if (s > 0 && !skipped(q, last, b)) h = q.y + last * q.y_t + b * q.y_b;
    if (restarts(q, t, b)) h = q.more.restart ? q.more.restart + b * q.more.restart_b : nullptr;
    for (int64_t unit = 0; unit < H; unit += V) {
        vec a = h ? load_some(h + unit, H - unit) : splat(0.0f);
        store(past + unit, a);
        if (q.more.drop) store(seen + unit, mul(a, drop_of(q, H, b, unit)));
    }
}

// The states before step s of the first places of `rows`, up to `end`, in a shard's scratch where they are not the last
// ones as they are.
states states_of(const gru_packed *w, const gru_forward &f, int64_t s, range rows, int64_t end, state before,
                 float *scratch) {
    bool another = f.ends.order || f.more.drop;
    for (int64_t b = rows.begin; b < end; b++) another = another || restarts(f, time_of(f, s), b);
    if (!another) return {before, before};
    int64_t HP = w->HP;
    float *past = scratch - rows.begin * HP, *seen = f.more.drop ? past + (rows.end - rows.begin) * HP : past;
    for (int64_t b = rows.begin; b < end; b++) begin_with(f, w->H, s, row_at(f.ends, b), past + b * HP, seen + b * HP);
    return {{past, HP}, {seen, HP}};
}

}  // namespace
