// The transforms of Winograd's F(4×4, 3×3) along one axis, for the points 0, ±√½, ±√2 and ∞, which
// round better than the usual 0, ±1, ±2 and ∞. See Lavin & Gray, 2016: Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A.

const P: f32 = 0.70710678118654752;
const Q: f32 = 1.41421356237309505;

alias Three = array<f32, 3>;
alias Four = array<f32, 4>;
alias Six = array<f32, 6>;

// Bᵀ, of the image.
fn image_transform(d: Six) -> Six {
    let even_p = d[4] - d[2] * 2.0;
    let odd_p = (d[3] - d[1] * 2.0) * P;
    let even_q = d[4] - d[2] * 0.5;
    let odd_q = (d[3] - d[1] * 0.5) * Q;
    return Six(
        d[0] - d[2] * 2.5 + d[4],
        even_p + odd_p,
        even_p - odd_p,
        even_q + odd_q,
        even_q - odd_q,
        d[1] - d[3] * 2.5 + d[5],
    );
}

// G, of the filter.
fn filter_transform(g: Three) -> Six {
    let even_p = g[0] + g[2] * 0.5;
    let even_q = g[0] + g[2] * 2.0;
    return Six(
        g[0],
        (even_p + g[1] * P) * (-1.0 / 1.5),
        (even_p - g[1] * P) * (-1.0 / 1.5),
        (even_q + g[1] * Q) * (1.0 / 6.0),
        (even_q - g[1] * Q) * (1.0 / 6.0),
        g[2],
    );
}

// Gᵀ
fn filter_adjoint(u: Six) -> Three {
    let even_p = (u[1] + u[2]) * (-1.0 / 1.5);
    let even_q = (u[3] + u[4]) * (1.0 / 6.0);
    let odd = (u[1] - u[2]) * (-P / 1.5) + (u[3] - u[4]) * (Q / 6.0);
    return Three(u[0] + even_p + even_q, odd, even_p * 0.5 + even_q * 2.0 + u[5]);
}

// Aᵀ, to the result.
fn result_transform(m: Six) -> Four {
    let even_p = m[1] + m[2];
    let odd_p = (m[1] - m[2]) * P;
    let even_q = m[3] + m[4];
    let odd_q = (m[3] - m[4]) * Q;
    return Four(
        m[0] + even_p + even_q,
        odd_p + odd_q,
        even_p * 0.5 + even_q * 2.0,
        odd_p * 0.5 + odd_q * 2.0 + m[5],
    );
}

// A
fn result_adjoint(y: Four) -> Six {
    let even_p = y[0] + y[2] * 0.5;
    let odd_p = (y[1] + y[3] * 0.5) * P;
    let even_q = y[0] + y[2] * 2.0;
    let odd_q = (y[1] + y[3] * 2.0) * Q;
    return Six(y[0], even_p + odd_p, even_p - odd_p, even_q + odd_q, even_q - odd_q, y[3]);
}
