// The forward pass: the steps in their order, shared out. A variant's walk says of which parts a step is.

namespace {

// Outside of `phase` nothing may be read that the call points to: a worker that holds no shard may be late.
template <class Weight, class Variant, class Phase>
GRUS_INLINE void walk_steps(packed<Weight> w, const gru_forward *f, range rows, Phase phase) {
    state before = {f->h0, f->h_b};
    bool together = f->shard_units && f->ends.order;
    for (int64_t s0 = 0; s0 < f->T; s0 += f->chunk) {
        int64_t steps = least(f->chunk, f->T - s0), first = 0;
        for (int64_t s = 0; s < steps; s++) {
            int64_t t = time_of(*f, s0 + s);
            auto step_of = [&](part mine, int shard) {
                int64_t end = end_of_step(f->ends, s0 + s, mine.b0, mine.b1);
                states own{before, before};
                if (copies_states(f->more))
                    own = states_of(w.all, *f, s0 + s, rows, end, before, f->states + shard * f->states_size);
                float *chunk = f->projected + shard * f->projected_size, *inputs = f->inputs + shard * f->inputs_size;
                int64_t above = together ? f->ends.before[s0 + s] - f->ends.before[s0] : first;
                return step<Weight>{w, f, mine, end, own, s0, s, steps, t, chunk, above, inputs};
            };
            Variant::template walk<Weight>(
                [&](auto work) { phase([&](part mine, int shard) { work(step_of(mine, shard)); }); });
            before = {f->y + t * f->y_t, f->y_b};
            if (!together) first += end_of_step(f->ends, s0 + s, rows.begin, rows.end) - rows.begin;
        }
    }
}

// Where the rows are shared a shard walks through the whole sequence; where the units are, all meet after each part of
// a step.
template <class Weight, class Variant>
void walk_forward(packed<Weight> w, const gru_forward *f, gru_worker *me) {
    auto part_of_shard = [&](int shard) { return part_of(f->B, w->HP / V, f->shard_units, shard, me); };
    if (f->shard_units)
        walk_steps<Weight, Variant>(
            w, f, {0, f->B}, [&](auto work) { phase(me, [&](int shard) { work(part_of_shard(shard), shard); }); });
    else
        phase(me, [&](int shard) {
            part mine = part_of_shard(shard);
            walk_steps<Weight, Variant>(w, f, {mine.b0, mine.b1}, [&](auto work) { work(mine, shard); });
        });
}

template <class Weight>
void forward(const gru_packed *given, const gru_forward *f, gru_worker *me) {
    turned held = {f->turned + me->index * f->turned_size};
    if (turns_for_all(*given, *f)) {
        held.steps = f->turned_steps + me->index * turned_steps(*given);
        held.marks = f->turned_marks + me->index * turned_marks(*given, V);
    }
    packed<Weight> w{given, &held};
    if (normalises(*given))
        (given->reset_after ? walk_forward<Weight, normalised_products<true>>
                            : walk_forward<Weight, normalised_products<false>>)(w, f, me);
    else
        (given->reset_after ? walk_forward<Weight, reset_after> : walk_forward<Weight, reset_before>)(w, f, me);
}

}  // namespace
