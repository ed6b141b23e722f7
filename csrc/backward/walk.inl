// The backward pass: the chunks from the last to the first, shared out. A variant walks through a chunk, up to the
// gradients of its gates: each(f) runs f(part) for the parts that are shared out, to the end of all.

namespace {

// The first step of the chunk that ends before step s1. A step that half the rows have counts for half, and so on. All
// workers must find the same, those too that hold no shard and may be late: nothing is read that the call points to.
int64_t chunk_begin(const gru_backward *f, int64_t s1) {
    if (!f->ends.order) return (s1 - 1) / f->chunk * f->chunk;
    constexpr int64_t whole = 64;
    int64_t room = f->chunk * whole, s0 = s1;
    for (; s0 > 0; s0--) {
        int64_t part = whole;
        for (int64_t few : f->ends.few)
            if (time_of(*f, s0 - 1) >= few) part /= 2;
        if ((room -= part) < 0) break;
    }
    return s0;
}

// A shard's part of a chunk. Where rows end early those that have some of its steps are shared out, no fewer at a time
// than what costs the reading of the weights anyway; the last shard has all others with its own.
template <class Weight>
part part_of_chunk(const chunk<Weight> &c, int shard, const gru_worker *me) {
    const gru_backward *f = c.f;
    int64_t B = f->B, panels = c.w->HP / V;
    if (f->shard_units || !f->ends.order) return part_of(B, panels, f->shard_units, shard, me);
    part all = {0, B, 0, panels};
    int64_t first = c.end(0, all), last = c.end(c.steps - 1, all), rows = first > last ? first : last;
    int64_t shards = least(me->shards, 1 + (rows - 1) / (ROWS / 2));
    if (shard >= shards) return {B, B, 0, panels};
    return {rows * shard / shards, shard + 1 == shards ? B : rows * (shard + 1) / shards, 0, panels};
}

template <class Weight, class Variant>
void walk_backward(packed<Weight> w, const gru_backward *f, gru_worker *me) {
    for (int64_t s1 = f->T; s1 > 0;) {
        int64_t s0 = chunk_begin(f, s1);
        chunk<Weight> c = {w, f, s0, s1 - s0, s1 == f->T};
        auto walk = [&](auto each) {
            if (c.copied()) each([&](const part &mine) { prepare(c, mine); });
            Variant::template walk<Weight>(c, each);
        };
        auto inputs = [&](const run &q) {
            if (f->dx) input_gradient(c, q, input_panels(c));
            if (f->dU) gather(c, q);
        };
        if (f->shard_units)
            walk([&](auto work) { phase(me, [&](int shard) { work(part_of_chunk(c, shard, me)); }); });
        else
            phase(me, [&](int shard) {
                part mine = part_of_chunk(c, shard, me);
                walk([&](auto work) { work(mine); });
                if (!f->ends.order) chunk_runs(c, c.steps, mine, inputs);
            });
        if (f->shard_units || f->ends.order)
            phase(me, [&](int shard) {
                part all = {0, f->B, 0, 0};
                if (!f->ends.order && c.steps >= me->shards)
                    return step_runs(c, share(c.steps, shard, me), all, inputs);
                if (!f->ends.order)  // of few steps each takes a part
                    return step_runs(c, {0, c.steps}, all, [&](const run &q) {
                        if (f->dx) input_gradient(c, q, share(input_panels(c).end, shard, me));
                        if (f->dU && shard == 0) gather(c, q);
                    });
                range rows = share(c.rows(), shard, me);
                inputs(run_of(c, rows.begin, rows.end));
                if (f->dx && !f->add_dx) no_input_gradient(c, share(c.steps, shard, me));
            });
        if (f->dU)
            phase(me, [&](int shard) {
                range units = share(w->H, shard, me);
                weight_gradients(c, units.begin, units.end);
            });
        s1 = s0;
    }
}

template <class Weight>
void backward(const gru_packed *given, const gru_backward *f, gru_worker *me) {
    turned held = {f->turned + me->index * f->turned_size};
    packed<Weight> w{given, &held};
    if (normalises(*given))
        (given->reset_after ? walk_backward<Weight, back_normalised_after>
                            : walk_backward<Weight, back_normalised_before>)(w, f, me);
    else
        (given->reset_after ? walk_backward<Weight, back_reset_after> : walk_backward<Weight, back_reset_before>)(w, f,
                                                                                                                  me);
}

}  // namespace
