// The backward pass: the chunks from the last to the first, shared out.

namespace {

// A chunk up to the gradients of its gates: each(f) runs f(part) for the parts that are shared out, to the end of all.
template <class Each>
GRUS_INLINE void walk_back(const walk &c, bool first, Each each) {
    const gru_packed *w = c.w;
    bool after = w->reset_after != 0, normalise = normalises(*w);
    int64_t HP = w->HP;
    if (c.copied()) each([&](const part &mine) { prepare(c, mine); });
    if (normalise) {
        each([&](const part &mine) { products_again(c, mine); });
        each([&](const part &mine) { normalise_again(c, mine); });
        if (!after) each([&](const part &mine) { reset_products_again(c, mine); });
    }
    each([&](const part &mine) {
        if (first) first_carry(w, c.f, mine);
        if (!normalise) recompute(c, mine);
        if (after) gate_gradients(c, mine, c.steps - 1);
    });
    if (!after)
        each([&](const part &mine) { (normalise ? normalise_candidates_again : recompute_candidates)(c, mine); });
    if (!after) each([&](const part &mine) { gate_gradients(c, mine, c.steps - 1); });  // others read r h till here
    for (int64_t s = c.steps - 1; s >= 0; s--) {
        if (normalise) each([&](const part &mine) { products_back(c, mine, s, after, true); });
        if (!after) each([&](const part &mine) { reset_back(c, mine, s, normalise ? RAW_N : DN); });
        if (normalise && !after) each([&](const part &mine) { products_back(c, mine, s, true, false); });
        each([&](const part &mine) {
            carry_back(c, mine, s, normalise ? RAW_R : DR, w->Ut, (after ? 3 : 2) * HP);
            if (s > 0) gate_gradients(c, mine, s - 1);
            if (s == 0 && c.s0 == 0) last_carry(w, c.f, mine);
        });
    }
}

void backward(const gru_packed *w, const gru_backward *f, gru_worker *me) {
    int64_t chunks = (f->T + f->chunk - 1) / f->chunk;
    for (int64_t i = chunks - 1; i >= 0; i--) {
        walk c = {w, f, i * f->chunk, least(f->chunk, f->T - i * f->chunk)};
        bool first = i == chunks - 1;
        auto part_of_shard = [&](int shard) { return part_of(f->B, w->HP / V, f->shard_units, shard, me); };
        auto inputs = [&](range steps, const part &rows) {
            if (f->dx) input_gradient(c, steps.begin, steps.end, rows.b0, rows.b1);
            if (f->dU) gather(c, steps.begin, steps.end, rows.b0, rows.b1);
        };
        if (f->shard_units) {
            walk_back(c, first, [&](auto work) { phase(me, [&](int shard) { work(part_of_shard(shard)); }); });
            phase(me, [&](int shard) { inputs(share(c.steps, shard, me), {0, f->B, 0, 0}); });
        } else {
            phase(me, [&](int shard) {
                part mine = part_of_shard(shard);
                walk_back(c, first, [&](auto work) { work(mine); });
                inputs({0, c.steps}, mine);
            });
        }
        if (f->dU)
            phase(me, [&](int shard) {
                range units = share(w->H, shard, me);
                weight_gradients(c, units.begin, units.end, first);
            });
    }
}

}  // namespace
