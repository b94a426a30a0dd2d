// Exponentials that can't overflow: drivers may take infinities for undefined.

// 1 / (1 + e⁻ˣ)
fn sigmoid(x: vec4f) -> vec4f {
    let e = exp(-abs(x));
    return select(vec4f(1.0), e, x < vec4f(0.0)) / (1.0 + e);
}

// Drivers' own tanh makes NaN of large arguments.
fn safe_tanh(x: vec4f) -> vec4f {
    let e = exp(-2.0 * abs(x));
    let size = (1.0 - e) / (1.0 + e);
    return select(size, -size, x < vec4f(0.0));
}
