//! Opens an exported directory the way `moshi-server` does: `moshi-server.toml` read into the engine's own structures.

use anyhow::{Context, Result};
use candle::{DType, Device};
use candle_nn::VarBuilder;
use moshi::nn::MaybeQuantizedVarBuilder;
use std::path::Path;

/// The part of `moshi-server.toml` that says what to load (`AsrConfig` of moshi-server).
#[derive(serde::Deserialize)]
pub struct Asr {
    pub lm_model_file: String,
    pub audio_tokenizer_file: String,
    pub asr_delay_in_tokens: usize,
    #[serde(default)]
    pub temperature: f64,
    pub model: moshi::lm::Config,
}

#[derive(serde::Deserialize)]
struct Modules {
    asr: Asr,
}

#[derive(serde::Deserialize)]
struct ServerConfig {
    modules: Modules,
}

/// `mimi_config.json`: the shape of a codec that is not Kyutai's own. moshi-server itself knows only that one.
#[derive(serde::Deserialize)]
struct CodecShape {
    seanet: SeanetShape,
    quantizer: QuantizerShape,
    transformer: TransformerShape,
}

#[derive(serde::Deserialize)]
struct SeanetShape {
    dimension: usize,
    n_filters: usize,
    n_residual_layers: usize,
    kernel_size: usize,
    residual_kernel_size: usize,
    last_kernel_size: usize,
    dilation_base: usize,
    compress: usize,
    ratios: Vec<usize>,
}

#[derive(serde::Deserialize)]
struct QuantizerShape {
    dimension: usize,
    bins: usize,
}

#[derive(serde::Deserialize)]
struct TransformerShape {
    d_model: usize,
    num_heads: usize,
    num_layers: usize,
    context: usize,
    dim_feedforward: usize,
    max_period: usize,
}

/// Build the engine's state for one stream. A language model that ends in `.gguf` is quantized, and `dtype` is not for it.
pub fn open(directory: &Path, dtype: DType) -> Result<moshi::asr::State> {
    let path = directory.join("moshi-server.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let config: ServerConfig = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let asr = config.modules.asr;
    let lm_path = directory.join(&asr.lm_model_file);
    let lm = load_lm(&lm_path, &asr.model, dtype).with_context(|| lm_path.display().to_string())?;
    let codec_path = directory.join(&asr.audio_tokenizer_file);
    let codec = load_codec(directory, &codec_path, &asr.model).with_context(|| codec_path.display().to_string())?;
    Ok(moshi::asr::State::new(1, asr.asr_delay_in_tokens, asr.temperature, codec, lm)?)
}

/// Load the language model, in the batched form that the server's `BatchedAsr` runs.
fn load_lm(path: &Path, config: &moshi::lm::Config, dtype: DType) -> Result<moshi::lm::LmModel> {
    let weights = if path.extension().is_some_and(|extension| extension == "gguf") {
        let builder = candle_transformers::quantized_var_builder::VarBuilder::from_gguf(path, &Device::Cpu)?;
        MaybeQuantizedVarBuilder::Quantized(builder)
    } else {
        MaybeQuantizedVarBuilder::Real(unsafe { VarBuilder::from_mmaped_safetensors(&[path], dtype, &Device::Cpu)? })
    };
    Ok(moshi::lm::LmModel::batched(1, config, weights)?)
}

/// Load the codec in float32, in Kyutai's shape unless the directory holds a `mimi_config.json`.
fn load_codec(directory: &Path, path: &Path, lm: &moshi::lm::Config) -> Result<moshi::mimi::Mimi> {
    let mut config = moshi::mimi::Config::v0_1(Some(lm.audio_codebooks));
    config.transformer.max_seq_len = lm.transformer.max_seq_len * 2;
    let shape_path = directory.join("mimi_config.json");
    if shape_path.exists() {
        let shape: CodecShape =
            serde_json::from_reader(std::fs::File::open(&shape_path)?).with_context(|| shape_path.display().to_string())?;
        reshape(&mut config, shape);
    }
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&[path], DType::F32, &Device::Cpu)? };
    Ok(moshi::mimi::Mimi::batched(1, config, weights)?)
}

fn reshape(config: &mut moshi::mimi::Config, shape: CodecShape) {
    let seanet = &mut config.seanet;
    seanet.dimension = shape.seanet.dimension;
    seanet.n_filters = shape.seanet.n_filters;
    seanet.n_residual_layers = shape.seanet.n_residual_layers;
    seanet.kernel_size = shape.seanet.kernel_size;
    seanet.residual_kernel_size = shape.seanet.residual_kernel_size;
    seanet.last_kernel_size = shape.seanet.last_kernel_size;
    seanet.dilation_base = shape.seanet.dilation_base;
    seanet.compress = shape.seanet.compress;
    seanet.ratios = shape.seanet.ratios;
    let transformer = &mut config.transformer;
    transformer.d_model = shape.transformer.d_model;
    transformer.num_heads = shape.transformer.num_heads;
    transformer.num_layers = shape.transformer.num_layers;
    transformer.context = shape.transformer.context;
    transformer.dim_feedforward = shape.transformer.dim_feedforward;
    transformer.max_period = shape.transformer.max_period;
    config.quantizer_dim = shape.quantizer.dimension;
    config.quantizer_bins = shape.quantizer.bins;
}
