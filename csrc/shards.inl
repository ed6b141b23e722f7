// How the work of a call is cut: phases whose shards the workers take, and what a shard is.

namespace {

GRUS_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
GRUS_INLINE int64_t tiles(int64_t n) { return (n + V - 1) / V; }

// f(shard) for every shard of a phase, each by one of the workers; ends when all are done.
template <class F>
GRUS_INLINE void phase(gru_worker *me, F f) {
    if (me->shards == 1) return f(0);
    for (int shard; (shard = me->claim(me)) >= 0;) {
        f(shard);
        me->done(me);
    }
    me->next(me);
}

struct range {
    int64_t begin, end;
};

GRUS_INLINE range share(int64_t n, int shard, const gru_worker *me) {
    return {n * shard / me->shards, n * (shard + 1) / me->shards};
}

struct part {  // what a shard computes: rows b0 to b1 - 1 of the batch, tiles j0 to j1 - 1 of the units
    int64_t b0, b1, j0, j1;
    GRUS_INLINE int64_t rows() const { return b1 - b0; }
};

GRUS_INLINE part part_of(int64_t B, int64_t panels, int shard_units, int shard, const gru_worker *me) {
    range own = share(shard_units ? panels : B, shard, me);
    return shard_units ? part{0, B, own.begin, own.end} : part{own.begin, own.end, 0, panels};
}

GRUS_INLINE void copy(float *to, const float *from, int64_t n) {
    for (int64_t i = 0; i < n; i += V) store_some(to + i, load_some(from + i, n - i), n - i);
}

// f(rows, t, b, stride_t): runs of rows of the block [t0, t1) x [b0, b1), along the longer of its two sides
template <class F>
GRUS_INLINE void runs(int64_t t0, int64_t t1, int64_t b0, int64_t b1, F f) {
    if (b1 - b0 >= t1 - t0)
        for (int64_t t = t0; t < t1; t++) f(b1 - b0, t, b0, false);
    else
        for (int64_t b = b0; b < b1; b++) f(t1 - t0, t0, b, true);
}

}  // namespace
