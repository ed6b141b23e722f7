// The formula of a step, once, in the letters of src/grus/reference.py: a vector of units of one row at a time. Sums
// are what a gate's function is taken of.

namespace {

struct gates {
    vec r, z, n, u_n;  // u_n = U_n h + b_hn: reset after alone has one
};

// r = σ(W_r x + U_r h + b), z = σ(W_z x + U_z h + b)
GRUS_INLINE vec reset_gate(vec sum) { return sigmoid(sum); }
GRUS_INLINE vec update_gate(vec sum) { return sigmoid(sum); }

// Reset after the product: n = tanh(W_n x + b_in + r u_n)
GRUS_INLINE vec candidate_after(vec x_n, vec r, vec u_n) { return tanhyp(fma(r, u_n, x_n)); }

GRUS_INLINE gates gates_after(vec sum_r, vec sum_z, vec x_n, vec u_n) {
    vec r = reset_gate(sum_r), z = update_gate(sum_z);
    return {r, z, candidate_after(x_n, r, u_n), u_n};
}

// Reset before the product: n = tanh(W_n x + b_in + U_n (r h) + b_hn), r h of all units being there
GRUS_INLINE vec candidate_before(vec sum) { return tanhyp(sum); }

GRUS_INLINE vec one_minus(vec a) { return sub(splat(1.0f), a); }
GRUS_INLINE vec blend(vec z, vec n, vec h) { return fma(z, sub(h, n), n); }  // h' = (1 - z) n + z h

// What z is where a part of the unit stays as it was whatever z says: z + zone (1 - z)
GRUS_INLINE vec zoned(vec z, vec zone) { return blend(zone, z, splat(1.0f)); }

// Back, from dh, the gradient by h': by the arguments of tanh and σ dn = dh n and dz = dh z, and dh keep carries on.
struct factors {
    vec n, z, keep;
};

GRUS_INLINE factors factors_of(vec z, vec n, vec h, vec zone) {
    vec keep = zoned(z, zone), slope = mul(one_minus(zone), mul(z, one_minus(z)));
    return {mul(one_minus(keep), one_minus(mul(n, n))), mul(sub(h, n), slope), keep};
}

// Reset after: dr = dn times this, and du_n = dn r
GRUS_INLINE vec reset_factor(vec r, vec u_n) { return mul(u_n, mul(r, one_minus(r))); }

// Reset before: dr from drh = U_nᵀ dn, the gradient by r h; and what of that goes to h
GRUS_INLINE vec reset_gradient(vec drh, vec rh, vec r) { return mul(drh, mul(rh, one_minus(r))); }
GRUS_INLINE vec past_reset(vec drh, vec r) { return mul(drh, r); }

}  // namespace
