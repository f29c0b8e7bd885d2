//! Runs an exported speech-to-text model in the production engine's own code (`moshi::asr::State`, what `moshi-server` steps) and prints,
//! one JSON object a line and frame, what it would have sent.
//!
//!     candle_probe MODEL_DIR --codes CODES.safetensors [--dtype f32|f16|bf16]
//!     candle_probe MODEL_DIR --wav CLIP.wav
//!
//! CODES.safetensors holds codec codes of any number of clips: int64 tensors [num_codebooks, num_frames] named by clip.
//! A row: {"clip", "frame", "text_token", "pause": [class 0 of every head], "codes": what the codec made of the frame, "words": [[tokens, start_s]]}.

mod engine;

use anyhow::{bail, Context, Result};
use candle::{DType, Device, Tensor};
use moshi::asr::{AsrMsg, State};
use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};

const FRAME_SAMPLES: usize = 1920;
const SAMPLE_RATE_HZ: u32 = 24_000;

struct Arguments {
    directory: PathBuf,
    codes: Option<PathBuf>,
    wav: Option<PathBuf>,
    dtype: DType,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut words = std::env::args().skip(1);
        let directory = words
            .next()
            .context("usage: candle_probe MODEL_DIR --codes FILE | --wav FILE [--dtype f32]")?;
        let mut parsed = Self {
            directory: directory.into(),
            codes: None,
            wav: None,
            dtype: DType::F32,
        };
        while let Some(flag) = words.next() {
            let value = words.next().with_context(|| format!("{flag}: a value is missing"))?;
            match flag.as_str() {
                "--codes" => parsed.codes = Some(value.into()),
                "--wav" => parsed.wav = Some(value.into()),
                "--dtype" => {
                    parsed.dtype = value
                        .parse()
                        .map_err(|_| anyhow::anyhow!("--dtype {value}: expected f32, f16 or bf16"))?
                }
                _ => bail!("{flag}: no such flag"),
            }
        }
        Ok(parsed)
    }
}

/// One frame as the server would have told it.
#[derive(serde::Serialize)]
struct Row<'a> {
    clip: &'a str,
    frame: usize,
    text_token: u32,
    pause: Vec<f32>,
    codes: Vec<u32>,
    words: Vec<(Vec<u32>, f64)>,
}

/// What the engine shows while it steps: the token it wrote at the step before, and the codes it feeds, which are those of the frame before.
#[derive(Default)]
struct Shown {
    text_token: u32,
    codes: Vec<u32>,
}

/// Listen to one clip and print its rows. `step` steps the engine by frame `t`; a frame beyond the last is asked for once, since what
/// was written at a frame is shown at the next.
fn listen(
    state: &mut State,
    clip: &str,
    num_frames: usize,
    mut step: impl FnMut(&mut State, usize, &RefCell<Shown>) -> Result<Vec<AsrMsg>>,
) -> Result<()> {
    state.reset()?;
    let shown = RefCell::new(Shown::default());
    let mut out = std::io::stdout().lock();
    let mut row: Option<Row> = None;
    for frame in 0..=num_frames {
        let messages = step(state, frame, &shown)?;
        if let Some(mut row) = row.take() {
            row.text_token = shown.borrow().text_token;
            row.codes = shown.borrow().codes.clone();
            writeln!(out, "{}", serde_json::to_string(&row)?)?;
        }
        let mut next = Row {
            clip,
            frame,
            text_token: 0,
            pause: vec![],
            codes: vec![],
            words: vec![],
        };
        for message in messages {
            match message {
                AsrMsg::Step { prs, .. } => next.pause = prs.iter().map(|head| head[0]).collect(),
                AsrMsg::Word { tokens, start_time, .. } => next.words.push((tokens, start_time)),
                AsrMsg::EndWord { .. } => {}
            }
        }
        row = Some(next);
    }
    Ok(())
}

/// Keep what the engine shows as it takes a step; the closures that `State` wants cannot change what they capture.
fn show(shown: &RefCell<Shown>) -> impl Fn(&[moshi::asr::ItemState], &Tensor, &[Tensor]) + '_ {
    |items, _, codes| {
        let fed = codes.iter().map(|code| {
            code.flatten_all()
                .and_then(|code| code.to_vec1::<u32>())
                .map_or(u32::MAX, |code| code[0])
        });
        *shown.borrow_mut() = Shown {
            text_token: items[0].text_token(),
            codes: fed.collect(),
        };
    }
}

/// The server steps many streams and masks those without sound; ours is one, and always has some.
fn awake(state: &State) -> Result<moshi::StreamMask> {
    Ok(moshi::StreamMask::new(vec![true], state.device())?)
}

fn listen_to_codes(state: &mut State, path: &Path) -> Result<()> {
    let mut clips: Vec<_> = candle::safetensors::load(path, &Device::Cpu)
        .with_context(|| path.display().to_string())?
        .into_iter()
        .collect();
    clips.sort_by(|a, b| a.0.cmp(&b.0));
    for (clip, codes) in clips {
        let codes = codes.to_dtype(DType::U32)?;
        let (_, num_frames) = codes.dims2().with_context(|| format!("{}: {clip}", path.display()))?;
        listen(state, &clip, num_frames, |state, frame, shown| {
            let codes = codes.narrow(1, frame.min(num_frames - 1), 1)?.unsqueeze(0)?;
            let mask = awake(state)?;
            Ok(state.step_tokens(&codes, None, &mask, show(shown))?)
        })?;
    }
    Ok(())
}

fn listen_to_wav(state: &mut State, path: &Path) -> Result<()> {
    let mut reader = hound::WavReader::open(path).with_context(|| path.display().to_string())?;
    let spec = reader.spec();
    if spec.sample_rate != SAMPLE_RATE_HZ || spec.channels != 1 {
        bail!(
            "{}: {} Hz, {} channels; expected mono at {SAMPLE_RATE_HZ} Hz",
            path.display(),
            spec.sample_rate,
            spec.channels
        );
    }
    let samples: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>()?,
        hound::SampleFormat::Int => {
            let scale = (1u64 << (spec.bits_per_sample - 1)) as f32;
            reader
                .samples::<i32>()
                .map(|sample| sample.map(|sample| sample as f32 / scale))
                .collect::<Result<_, _>>()?
        }
    };
    let num_frames = samples.len() / FRAME_SAMPLES;
    let clip = path.display().to_string();
    listen(state, &clip, num_frames, |state, frame, shown| {
        let silence = vec![0f32; FRAME_SAMPLES];
        let pcm = samples.chunks_exact(FRAME_SAMPLES).nth(frame).unwrap_or(&silence);
        let pcm = Tensor::new(pcm, state.device())?.reshape((1, 1, FRAME_SAMPLES))?;
        let mask = awake(state)?;
        Ok(state.step_pcm(pcm, None, &mask, show(shown))?)
    })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let mut state = engine::open(&arguments.directory, arguments.dtype)?;
    match (&arguments.codes, &arguments.wav) {
        (Some(path), None) => listen_to_codes(&mut state, path),
        (None, Some(path)) => listen_to_wav(&mut state, path),
        _ => bail!("give --codes FILE or --wav FILE, one of them"),
    }
}
