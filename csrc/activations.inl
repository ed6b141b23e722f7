// σ and tanh of a vector, each within 2 units in the last place; NaN stays NaN, infinities give the limits.

namespace {

struct exponential {
    vec scale, minus1;  // 2^i and e^r - 1, so that e^t = scale + scale * minus1
};

// t = i ln 2 + r with |r| <= ln 2 / 2. The polynomial is the minimax fit of (e^r - 1 - r) / r² for the relative error
// of e^r - 1, found by Lawson's iteration on 400 Chebyshev nodes: 1.4e-8.
GRUS_INLINE exponential exponent(vec t) {
    const vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
    vec k = fma(t, splat(1.44269504f), magic);
    vec i = sub(k, magic);
    vec r = fma(i, splat(-0.693359375f), t);
    r = fma(i, splat(2.12194440e-4f), r);
    vec p = fma(splat(0x1.6bebfep-10f), r, splat(0x1.1227b0p-7f));
    p = fma(p, r, splat(0x1.555674p-5f));
    p = fma(p, r, splat(0x1.5554b0p-3f));
    p = fma(p, r, splat(0x1.fffffep-2f));
    return {power2(k), fma(mul(r, r), p, r)};
}

GRUS_INLINE vec sigmoid(vec a) {  // 1 / (1 + e^-a)
    exponential e = exponent(clamp(sub(splat(0.0f), a), -87.0f, 88.0f));
    return div(splat(1.0f), add(splat(1.0f), fma(e.scale, e.minus1, e.scale)));
}

GRUS_INLINE vec tanhyp(vec a) {  // m / (m + 2) with m = e^2a - 1, which keeps its digits where a is small
    exponential e = exponent(clamp(add(a, a), -40.0f, 40.0f));
    vec m = fma(e.scale, e.minus1, sub(e.scale, splat(1.0f)));
    return div(m, add(m, splat(2.0f)));
}

void activation(float *dst, const float *src, int64_t n, int function) {
    for (int64_t i = 0; i < n; i += V) {
        vec a = load_some(src + i, n - i);
        store_some(dst + i, function ? tanhyp(a) : sigmoid(a), n - i);
    }
}

}  // namespace
