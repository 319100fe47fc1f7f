//! Ears: whether what was heard is what was said, by the shape of its loudness.

use std::path::Path;

/// Milliseconds of one point of an envelope.
pub const STEP_MS: u32 = 20;

/// The loudness of each 20 ms of mono sound.
///
/// # Errors
/// When the file is no 16-bit WAV.
pub fn envelope(path: &Path) -> anyhow::Result<Vec<f64>> {
    let reader = hound::WavReader::open(path)?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels);
    let samples: Vec<f64> = reader.into_samples::<i16>().map(|s| s.map(f64::from)).collect::<Result<_, _>>()?;
    let step = channels * usize::try_from(spec.sample_rate * STEP_MS / 1000)?;
    #[expect(clippy::cast_precision_loss, reason = "a step has a thousand samples")]
    let rms = |chunk: &[f64]| (chunk.iter().map(|s| s * s).sum::<f64>() / chunk.len() as f64).sqrt();
    Ok(samples.chunks(step).map(rms).collect())
}

/// Writes so many seconds of nothing, for somebody who only listens.
///
/// # Errors
/// When the file cannot be written.
pub fn silence(path: &Path, seconds: u32) -> anyhow::Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(path, spec)?;
    for _ in 0..seconds * spec.sample_rate {
        file.write_sample(0_i16)?;
    }
    Ok(file.finalize()?)
}

/// Writes the same words again and again until they fill so many seconds, for somebody who goes on talking.
///
/// # Errors
/// When `words` is no 16-bit WAV or has nothing in it, or the file cannot be written.
pub fn repeated(words: &Path, path: &Path, seconds: u32) -> anyhow::Result<()> {
    let reader = hound::WavReader::open(words)?;
    let spec = reader.spec();
    let said: Vec<i16> = reader.into_samples().collect::<Result<_, _>>()?;
    anyhow::ensure!(!said.is_empty(), "nothing is said in {}", words.display());
    let mut file = hound::WavWriter::create(path, spec)?;
    let samples = usize::try_from(seconds * spec.sample_rate * u32::from(spec.channels))?;
    for sample in said.iter().cycle().take(samples) {
        file.write_sample(*sample)?;
    }
    Ok(file.finalize()?)
}

/// The loudness of each 20 ms of mono sound at 48 kHz.
#[must_use]
pub fn envelope_of(samples: &[i16]) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a step has a thousand samples")]
    let rms =
        |chunk: &[i16]| (chunk.iter().map(|s| f64::from(*s) * f64::from(*s)).sum::<f64>() / chunk.len() as f64).sqrt();
    samples.chunks(960).map(rms).collect()
}

/// How alike two envelopes are at the best alignment within `reach` steps: their correlation, 1 for the same shape,
/// 0 for none. Returns it with the steps by which `heard` lags behind `said`.
#[must_use]
pub fn likeness(said: &[f64], heard: &[f64], reach: usize) -> (f64, i64) {
    let reach = i64::try_from(reach).unwrap_or_default();
    let at = |lag: i64| {
        let pairs: Vec<(f64, f64)> = said
            .iter()
            .enumerate()
            .filter_map(|(i, s)| {
                let place = usize::try_from(i64::try_from(i).ok()? + lag).ok()?;
                heard.get(place).map(|h| (*s, *h))
            })
            .collect();
        // An alignment that compares only a corner of the sentence says nothing.
        if pairs.len() * 10 < said.len() * 8 { 0.0 } else { correlation(&pairs) }
    };
    (-reach..=reach).map(|lag| (at(lag), lag)).fold((0.0, 0), |best, next| if next.0 > best.0 { next } else { best })
}

fn correlation(pairs: &[(f64, f64)]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand steps")]
    let n = pairs.len() as f64;
    let (ma, mb) = pairs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        let (x, y) = (x - ma, y - mb);
        (ab, aa, bb) = (ab + x * y, aa + x * x, bb + y * y);
    }
    if aa * bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ears_tell_ada_from_bob() {
        let (ada, bob) = (envelope(&crate::speech("ada")).unwrap(), envelope(&crate::speech("bob")).unwrap());
        let late: Vec<f64> = vec![0.0; 17].into_iter().chain(ada.iter().map(|x| x * 0.7)).collect();
        let (same, lag) = likeness(&ada, &late, 100);
        assert!(same > 0.99 && lag == 17, "{same} at {lag}");
        let (other, _) = likeness(&ada, &bob, 100);
        assert!(other < 0.5, "the two sentences are too alike: {other}");
        assert!(likeness(&ada, &vec![0.0; 500], 100).0 < 0.01);
    }
}
