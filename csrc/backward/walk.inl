// The backward pass: the chunks from the last to the first, shared out. A variant walks through a chunk, up to the
// gradients of its gates: each(f) runs f(part) for the parts that are shared out, to the end of all.

namespace {

template <class Weight, class Variant>
void walk_backward(packed<Weight> w, const gru_backward *f, gru_worker *me) {
    int64_t chunks = (f->T + f->chunk - 1) / f->chunk;
    for (int64_t i = chunks - 1; i >= 0; i--) {
        chunk<Weight> c = {w, f, i * f->chunk, least(f->chunk, f->T - i * f->chunk), i == chunks - 1};
        auto part_of_shard = [&](int shard) { return part_of(f->B, w->HP / V, f->shard_units, shard, me); };
        auto walk = [&](auto each) {
            if (c.copied()) each([&](const part &mine) { prepare(c, mine); });
            Variant::template walk<Weight>(c, each);
        };
        auto inputs = [&](range steps, const part &rows) {
            if (f->dx) input_gradient(c, steps.begin, steps.end, rows.b0, rows.b1);
            if (f->dU) gather(c, steps.begin, steps.end, rows.b0, rows.b1);
        };
        if (f->shard_units) {
            walk([&](auto work) { phase(me, [&](int shard) { work(part_of_shard(shard)); }); });
            phase(me, [&](int shard) { inputs(share(c.steps, shard, me), {0, f->B, 0, 0}); });
        } else {
            phase(me, [&](int shard) {
                part mine = part_of_shard(shard);
                walk([&](auto work) { work(mine); });
                inputs({0, c.steps}, mine);
            });
        }
        if (f->dU)
            phase(me, [&](int shard) {
                range units = share(w->H, shard, me);
                weight_gradients(c, units.begin, units.end);
            });
    }
}

template <class Weight>
void backward(const gru_packed *given, const gru_backward *f, gru_worker *me) {
    packed<Weight> w{given};
    if (normalises(*given))
        (given->reset_after ? walk_backward<Weight, back_normalised_after>
                            : walk_backward<Weight, back_normalised_before>)(w, f, me);
    else
        (given->reset_after ? walk_backward<Weight, back_reset_after> : walk_backward<Weight, back_reset_before>)(w, f,
                                                                                                                  me);
}

}  // namespace
