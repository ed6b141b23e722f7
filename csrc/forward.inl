// The forward pass: the steps in their order, shared out.

namespace {

// Where the rows are shared a shard walks through the whole sequence; where the units are, all meet after each part of
// a step.
void forward(const gru_packed *w, const gru_forward *f, gru_worker *me) {
    auto walk = [&](auto each, auto part_of_shard) {
        state before = {f->h0, f->h_b};
        for (int64_t s0 = 0; s0 < f->T; s0 += f->chunk) {
            int64_t steps = least(f->chunk, f->T - s0);
            for (int64_t s = 0; s < steps; s++) {
                int64_t t = f->reverse ? f->T - 1 - s0 - s : s0 + s;
                float *gates = nullptr;
                if (f->saved && s0 + s >= f->saved_from)
                    gates = f->saved + (f->reverse ? t : t - f->saved_from) * f->B * 4 * w->HP;
                auto projected = [&](int shard, const part &mine) {
                    return f->projected + shard * f->projected_size +
                           s * (mine.b1 - mine.b0) * (mine.j1 - mine.j0) * 3 * V;
                };
                auto begin = [&](int shard, const part &mine) {
                    float *scratch = f->states + shard * f->states_size;
                    return copies_states(f->more) ? states_of(w, f, mine, before, t, scratch) : states{before, before};
                };
                each([&](int shard) {
                    part mine = part_of_shard(shard);
                    if (s == 0) project(w, f, mine, s0, steps, f->projected + shard * f->projected_size);
                    states now = begin(shard, mine);
                    if (normalises(*w))
                        products(w, f, mine, now.seen);
                    else if (w->reset_after)
                        step_reset_after(w, f, mine, now, t, projected(shard, mine), gates, s % 2 != 0);
                    else
                        reset_units(w, f, mine, now, t, projected(shard, mine), gates);
                });
                auto then = [&](auto work) {
                    each([&](int shard) {
                        part mine = part_of_shard(shard);
                        work(mine, begin(shard, mine), projected(shard, mine));
                    });
                };
                if (normalises(*w))
                    then([&](const part &mine, const states &now, const float *x) {
                        normalised_gates(w, f, mine, now, t, x, gates);
                    });
                if (normalises(*w) && !w->reset_after)
                    then([&](const part &mine, const states &, const float *) { reset_products(w, f, mine); });
                if (!w->reset_after)
                    then([&](const part &mine, const states &now, const float *x) {
                        (normalises(*w) ? normalised_candidates : candidate_units)(w, f, mine, now, t, x, gates);
                    });
                before = {f->y + t * f->y_t, f->y_b};
            }
        }
    };
    auto part_of_shard = [&](int shard) { return part_of(f->B, w->HP / V, f->shard_units, shard, me); };
    if (f->shard_units)
        walk([&](auto work) { phase(me, work); }, part_of_shard);
    else
        phase(me, [&](int own) { walk([&](auto work) { work(own); }, part_of_shard); });
}

}  // namespace
