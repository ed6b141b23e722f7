// The forward pass: the steps in their order, shared out. A variant's walk says of which parts a step is.

namespace {

template <class Weight, class Variant, class Phase>
GRUS_INLINE void walk_steps(packed<Weight> w, const gru_forward *f, const gru_worker *me, Phase phase) {
    state before = {f->h0, f->h_b};
    for (int64_t s0 = 0; s0 < f->T; s0 += f->chunk) {
        int64_t steps = least(f->chunk, f->T - s0);
        for (int64_t s = 0; s < steps; s++) {
            int64_t t = time_of(*f, s0 + s);
            float *saved = f->saved && s0 + s >= f->saved_from ? saved_at(*f, t, w->HP) : nullptr;
            auto step_of = [&](int shard) {
                part mine = part_of(f->B, w->HP / V, f->shard_units, shard, me);
                float *scratch = f->states + shard * f->states_size, *chunk = f->projected + shard * f->projected_size;
                states own =
                    copies_states(f->more) ? states_of(w.all, *f, mine, before, t, scratch) : states{before, before};
                return step<Weight>{w, f, mine, own, s0, s, steps, t, chunk, saved};
            };
            Variant::template walk<Weight>([&](auto work) { phase([&](int shard) { work(step_of(shard)); }); });
            before = {f->y + t * f->y_t, f->y_b};
        }
    }
}

// Where the rows are shared a shard walks through the whole sequence; where the units are, all meet after each part of
// a step.
template <class Weight, class Variant>
void walk_forward(packed<Weight> w, const gru_forward *f, gru_worker *me) {
    if (f->shard_units)
        walk_steps<Weight, Variant>(w, f, me, [&](auto work) { phase(me, work); });
    else
        phase(me, [&](int own) { walk_steps<Weight, Variant>(w, f, me, [&](auto work) { work(own); }); });
}

template <class Weight>
void forward(const gru_packed *given, const gru_forward *f, gru_worker *me) {
    packed<Weight> w{given};
    if (normalises(*given))
        (given->reset_after ? walk_forward<Weight, normalised_products<true>>
                            : walk_forward<Weight, normalised_products<false>>)(w, f, me);
    else
        (given->reset_after ? walk_forward<Weight, reset_after> : walk_forward<Weight, reset_before>)(w, f, me);
}

}  // namespace
