//! Kilometres between a stored place and the one in the request, along a great circle.

const EARTH_RADIUS_KM: f64 = 6_371.008_8;

/// Both places in degrees. Latitudes beyond the poles are refused; the request is at fault.
#[galley::transform(outputs("distance_km", "is_near"), volatility = "immutable")]
pub fn geo_distance(
    home_lat: f64,
    home_lon: f64,
    request_lat: f64,
    request_lon: f64,
) -> Result<(f64, bool), String> {
    for latitude in [home_lat, request_lat] {
        if !(-90.0..=90.0).contains(&latitude) {
            return Err(format!("latitude {latitude} is not between -90 and 90"));
        }
    }
    let (from, to) = (home_lat.to_radians(), request_lat.to_radians());
    let half_lat = ((to - from) / 2.0).sin();
    let half_lon = ((request_lon - home_lon).to_radians() / 2.0).sin();
    let chord = half_lat * half_lat + from.cos() * to.cos() * half_lon * half_lon;
    // Rounding may carry the chord past 1 for opposite points.
    let distance = 2.0 * EARTH_RADIUS_KM * chord.min(1.0).sqrt().asin();
    Ok((distance, distance <= 5.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposite_points_are_half_a_meridian_apart() {
        let (distance, near) = geo_distance(0.0, 0.0, 0.0, 180.0).unwrap();
        assert!((distance - std::f64::consts::PI * EARTH_RADIUS_KM).abs() < 1e-6);
        assert!(!near);
        assert!(geo_distance(91.0, 0.0, 0.0, 0.0).is_err());
    }
}
