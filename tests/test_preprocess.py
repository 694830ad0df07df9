"""Preprocessing: closed forms, what training does not leak, and that statistics can be saved."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionjax import preprocess
from fusionjax.card import (
    AudioOptions,
    ImageOptions,
    Modality,
    SignalOptions,
    TabularOptions,
    TextOptions,
    VectorOptions,
)
from fusionjax.preprocess import audio, image, signal, tabular, text, vector
from fusionjax.preprocess.moments import moments

ENGLISH = ["Chest pain on exertion, no fever.", "Fever and cough; chest clear.", "No chest pain."]
CHINESE = ["患者发热，咳嗽，胸痛。", "患者无发热，无胸痛。", "咳嗽伴胸痛。"]


def modality(kind: str, options) -> Modality:
    return Modality("m", kind, ("c",), options=options)


def examples() -> dict[str, tuple[Modality, list, object]]:
    """Of each kind: a modality, raw records with the last one missing, and a new kind of gap."""
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (n, 6, 6, 1)).astype(np.uint8) for n in (1, 3, 2, 0)]
    sounds = [(rng.integers(-9000, 9000, n).astype(np.int16),) for n in (4000, 900, 2000)]
    signals = [(rng.normal(5, 2, (n, 2)).astype(np.float32),) for n in (30, 12, 9)]
    rows = [(np.float32([k, k * k]), ("a" if k % 2 else "b",)) for k in range(1, 9)]
    gap = (np.full(2, np.nan, np.float32), ("",))
    vectors = [rng.normal(3, 2, 4).astype(np.float32) for _ in range(5)]
    return {
        "image": (modality("image", ImageOptions(size=6)), pixels),
        "audio": (modality("audio", AudioOptions(rate=4000, seconds=0.5, mels=8)), [*sounds, ()]),
        "signal": (modality("signal", SignalOptions(length=16)), [*signals, ()]),
        "text": (modality("text", TextOptions(vocabulary=300)), [*ENGLISH, *CHINESE, ""]),
        "tabular": (modality("tabular", TabularOptions(("c",))), [*rows, gap]),
        "vector": (modality("vector", VectorOptions()), [*vectors, np.zeros(0, np.float32)]),
    }


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


every_kind = pytest.mark.parametrize("kind", preprocess.KINDS)


@every_kind
def test_missing_is_masked_and_the_rest_is_not(kind: str) -> None:
    one, raws = examples()[kind]
    values, mask = preprocess.apply(one, preprocess.fit(one, raws), raws)
    assert len(values) == len(mask) == len(raws)
    assert values.dtype == (np.int32 if kind == "text" else np.float32)
    assert values.shape[: mask.ndim] == mask.shape
    assert np.isfinite(values).all()
    there = mask.reshape(len(raws), -1).any(axis=1)
    np.testing.assert_array_equal(there, np.arange(len(raws)) < len(raws) - 1)


@every_kind
def test_a_missing_record_does_not_move_the_statistics(kind: str) -> None:
    one, raws = examples()[kind]
    arrays, plain = preprocess.to_arrays(preprocess.fit(one, raws))
    fewer, same = preprocess.to_arrays(preprocess.fit(one, raws[:-1]))
    assert plain == same
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, fewer[name])


@every_kind
def test_records_do_not_see_each_other(kind: str) -> None:
    one, raws = examples()[kind]
    statistics = preprocess.fit(one, raws)
    together = preprocess.apply(one, statistics, raws)
    for record, raw in enumerate(raws):
        alone = preprocess.apply(one, statistics, [raw])
        np.testing.assert_array_equal(alone.values[0], together.values[record])
        np.testing.assert_array_equal(alone.mask[0], together.mask[record])


@every_kind
def test_training_records_all_missing_leave_usable_statistics(kind: str) -> None:
    one, raws = examples()[kind]
    statistics = preprocess.fit(one, raws[-1:] * 3)
    values, mask = preprocess.apply(one, statistics, raws[-1:])
    assert np.isfinite(values).all()
    assert not mask.any()


@every_kind
def test_statistics_survive_json_and_arrays(kind: str) -> None:
    one, raws = examples()[kind]
    statistics = preprocess.fit(one, raws)
    arrays, plain = preprocess.to_arrays(statistics)
    again = preprocess.from_arrays(kind, arrays, json.loads(json.dumps(plain, allow_nan=False)))
    assert type(again) is type(statistics)
    for ours, theirs in zip(
        preprocess.apply(one, again, raws), preprocess.apply(one, statistics, raws), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@every_kind
def test_no_records_are_no_inputs(kind: str) -> None:
    one, raws = examples()[kind]
    values, mask = preprocess.apply(one, preprocess.fit(one, raws), [])
    assert len(values) == len(mask) == 0


@pytest.mark.parametrize("offset", [0, 1e6])
def test_moments_of_parts_are_those_of_the_whole(offset: float, rng: np.random.Generator) -> None:
    x = rng.normal(offset, 2, (100, 3))
    x[::7, 1] = np.nan
    mean, sd = moments([x[:10], x[10:11], x[11:]], 3)
    np.testing.assert_allclose(mean, np.nanmean(x, axis=0), rtol=1e-6)
    np.testing.assert_allclose(sd, np.nanstd(x, axis=0), rtol=1e-5)


def test_constant_and_unseen_columns_have_deviation_one() -> None:
    x = np.float32([[0.1, np.nan], [0.1, np.nan], [0.1, np.inf]])
    mean, sd = moments([x], 2)
    np.testing.assert_allclose(mean, [0.1, 0], rtol=1e-6)
    np.testing.assert_array_equal(sd, 1)


def test_images_have_mean_zero_and_deviation_one_in_each_channel(rng: np.random.Generator) -> None:
    options = ImageOptions(size=5, colour=True)
    raws = [rng.integers(0, [100, 200, 256], (2, 5, 5, 3)).astype(np.uint8) for _ in range(9)]
    values, _ = image.apply(image.fit(raws, options), raws, options)
    np.testing.assert_allclose(values.mean(axis=(0, 1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(axis=(0, 1, 2, 3)), 1, atol=1e-5)


def test_instances_beyond_the_eighth_are_left_out() -> None:
    raws = [np.full((n, 4, 4, 1), n, np.uint8) for n in (1, 12)]
    options = ImageOptions(size=4)
    statistics = image.fit(raws[:1], options)
    assert image.apply(statistics, raws[:1], options).mask.shape == (1, 1)
    np.testing.assert_array_equal(image.apply(statistics, raws, options).mask.sum(axis=1), [1, 8])


@pytest.mark.parametrize("hertz", [300, 1000, 2600])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_pure_tone_peaks_in_its_band(hertz: float, rate: int) -> None:
    options = AudioOptions(rate=rate, seconds=1.0, mels=24)
    tone = (9000 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)).astype(np.int16)
    power = audio.log_mel(tone, options).mean(axis=0)
    mel = 2595 * np.log10(1 + hertz / 700) / (2595 * np.log10(1 + rate / 2 / 700))
    assert abs(np.argmax(power) - (mel * 25 - 1)) <= 0.5 + 1e-6


def test_power_of_a_tone_in_closed_form() -> None:
    """A sine of amplitude a at frequency k of n has |FFT|² = (a · Σ window / 2)² there."""
    options = AudioOptions(rate=8000, seconds=1.0, mels=24)
    hertz, amplitude = 1000, 0.25
    tone = np.round(32768 * amplitude * np.sin(2 * np.pi * hertz * np.arange(8000) / 8000))
    filters = audio.mel_filters(8000, 24, 256)
    window = np.hanning(201)[:-1]
    places = np.arange(256) - 32
    line = np.abs([np.sum(window * np.exp(-2j * np.pi * p * np.arange(200) / 256)) for p in places])
    expected = np.log(((amplitude / 2 * line[:129]) ** 2) @ filters + audio.SILENCE)
    found = audio.log_mel(tone.astype(np.int16), options)
    near = expected > expected.max() - 6
    np.testing.assert_allclose(found[0][near], expected[near], atol=0.02)


@given(
    rate=st.integers(1000, 48000),
    mels=st.integers(4, 80),
    seconds=st.floats(0.1, 2),
    n=st.integers(1, 9000),
)
def test_no_mel_band_is_empty_and_frames_fit(rate: int, mels: int, seconds: float, n: int) -> None:
    options = AudioOptions(rate=rate, seconds=seconds, mels=mels)
    bins = audio._lengths(options)[2]
    assert audio.mel_filters(rate, mels, bins).sum(axis=0).min() > 0
    sound = (np.arange(n, dtype=np.int16),)
    values, mask = audio.apply(audio.fit([sound], options), [sound], options)
    assert mask.any()
    assert np.isfinite(values).all()
    assert mask.sum() == len(audio.log_mel(sound[0], options))


def test_signals_are_cut_masked_and_bounded() -> None:
    options = SignalOptions(length=10)
    long, short = np.ones((14, 2), np.float32), np.ones((4, 2), np.float32)
    short[1], short[2, 0], short[3, 1] = np.nan, np.nan, 1e38
    values, mask = signal.apply(signal.fit([(long,)], options), [(long,), (short,)], options)
    np.testing.assert_array_equal(mask.sum(axis=2), [[10], [3]])
    assert not mask[1, 0, 1]
    assert values.max() == 100


def test_numbers_are_winsorised_and_standardised(rng: np.random.Generator) -> None:
    x = rng.normal(10, 3, (1000, 1)).astype(np.float32)
    raws = [(row, ()) for row in x]
    statistics = tabular.fit(raws, TabularOptions())
    values, _ = tabular.apply(statistics, raws, TabularOptions())
    clipped = np.clip(x, *np.quantile(x, [0.005, 0.995]))
    np.testing.assert_allclose(values, (clipped - clipped.mean()) / clipped.std(), atol=1e-4)
    wild = [(np.float32([v]), ()) for v in (1e30, -1e30, np.inf, np.nan)]
    values, mask = tabular.apply(statistics, wild, TabularOptions())
    np.testing.assert_array_equal(mask[:, 0], [True, True, False, False])
    np.testing.assert_allclose(values[:2, 0], [values[:2].max(), values[:2].min()])
    assert np.abs(values).max() < 4


def test_concentrations_are_logged_and_nothing_else(rng: np.random.Generator) -> None:
    z = rng.normal(size=500)
    x = np.column_stack([np.exp(z), z, 50 + z, np.exp(z) - 1, rng.integers(0, 2, 500)])
    raws = [(row.astype(np.float32), ()) for row in x]
    statistics = tabular.fit(raws, TabularOptions())
    np.testing.assert_array_equal(statistics.logged, [True, False, False, False, False])
    values, _ = tabular.apply(
        statistics, [*raws, (np.float32([-4, 0, 0, 0, 0]), ())], TabularOptions()
    )
    assert np.corrcoef(values[:-1, 0], z)[0, 1] > 0.995
    assert np.isfinite(values).all()


def test_levels_are_one_hot_and_gaps_masked() -> None:
    cells = ["red", "blue", "red", "", "blue", "green"]
    options = TabularOptions(("colour",))
    raws = [(np.float32([1]), (cell,)) for cell in cells]
    statistics = tabular.fit(raws, options)
    values, mask = tabular.apply(statistics, [*raws, (np.float32([1]), ("violet",))], options)
    names = tabular.names(statistics, ("dose", "colour"), options)
    assert names == ("dose", "colour = blue", "colour = red")
    np.testing.assert_array_equal(values[:, 1], [0, 1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(values[:, 2], [1, 0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(mask[:, 1], [True, True, True, False, True, True, True])


def test_gaps_of_a_vector_are_the_mean() -> None:
    raws = [np.float32([1, 2]), np.float32([3, np.nan])]
    values, mask = vector.apply(vector.fit(raws, VectorOptions()), raws, VectorOptions())
    np.testing.assert_allclose(values, [[-1, 0], [1, 0]])
    np.testing.assert_array_equal(mask, [[True, True], [True, False]])


@pytest.mark.parametrize("notes", [ENGLISH, CHINESE])
def test_tokens_give_the_note_back(notes: list[str]) -> None:
    from tokenizers import Tokenizer

    options = TextOptions(vocabulary=320)
    statistics = text.fit(notes, options)
    values, mask = text.apply(statistics, notes, options)
    tokenizer = Tokenizer.from_str(statistics.tokenizer)
    for note, tokens, there in zip(notes, values, mask, strict=True):
        assert tokenizer.decode(list(tokens[there])).strip() == text.redact(note)
    assert values[mask].min() > 1
    assert not values[~mask].any()
    assert tokenizer.get_vocab_size() <= 320


def test_unseen_script_has_tokens_and_long_notes_are_cut() -> None:
    options = TextOptions(vocabulary=300, length=8)
    values, mask = text.apply(text.fit(ENGLISH, options), ["患者" * 50, "a"], options)
    assert values.shape == (2, 8)
    assert mask[0].all()
    assert (values[mask] > 1).all()


@pytest.mark.parametrize(
    ("note", "left"),
    [
        ("COVID-19 positive, post-covid cough", "positive, cough"),
        ("Suspected ＣＯＶＩＤ. Co\u00advid! co\u200bvid", "suspected . !"),
        ("患者COVID阳性", "患者阳性"),
        ("新型冠状病毒肺炎患者", "新型冠状病毒患者"),
        ("non-pneumonic; bronchopneumonia", "non-pneumonic;"),
        ("pulmonary  embolism, embolism", ", embolism"),
        ("Straße is no stem", "strasse is no stem"),
    ],
)
def test_redaction(note: str, left: str) -> None:
    assert text.redact(note, ("CoViD", "肺炎", "pneumonia", "Pulmonary Embolism")) == left


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(["covid", "肺炎", "straße"]))
def test_no_stem_is_left_by_redaction(before: str, after: str, stem: str) -> None:
    assert text.redact(stem) not in text.redact(f"{before}{stem.upper()}{after}", (stem,))


@given(st.text(max_size=80))
def test_redaction_without_stems_is_idempotent(note: str) -> None:
    once = text.redact(note, ("", " "))
    assert text.redact(once) == once


@pytest.mark.parametrize("note", ["a" * 200_000, "a-" * 100_000, "肺" * 200_000, "ab " * 60_000])
def test_redaction_takes_linear_time(note: str) -> None:
    from time import process_time

    start = process_time()
    text.redact(note, ("covid", "xa", "肺炎"))
    assert process_time() - start < 3


def test_redaction_comes_before_the_tokenizer() -> None:
    secret = ["covid wheeze", "covid cough", "covid cough"]
    statistics = text.fit(secret, TextOptions(redact=("covid",), vocabulary=300))
    learnt = json.loads(statistics.tokenizer)["model"]["vocab"]
    assert any(re.search("coug", token) for token in learnt)
    assert not any("vi" in token for token in learnt)
